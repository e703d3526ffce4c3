/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instructions the core has, as its compiler tells. Kernels for cores with more than plain C
 * hold the same computation in plain C too, so that one folder of generated C builds for this
 * machine and for every board.
 */
#ifndef TINYML_SELECT_H
#define TINYML_SELECT_H

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define TML_USE_DSP 1
#else
#define TML_USE_DSP 0
#endif

#if defined(__ARM_FEATURE_MVE)
#define TML_USE_MVE 1
#else
#define TML_USE_MVE 0
#endif

#endif
