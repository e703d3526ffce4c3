/* SPDX-License-Identifier: Apache-2.0
 *
 * Which implementation of a kernel is compiled. The core decides, through what its compiler
 * defines, so one folder of generated C builds for this machine and for every board.
 */
#ifndef TINYML_SELECT_H
#define TINYML_SELECT_H

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define TML_USE_DSP 1
#else
#define TML_USE_DSP 0
#endif

#endif
