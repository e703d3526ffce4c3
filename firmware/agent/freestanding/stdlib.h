/* SPDX-License-Identifier: Apache-2.0
 *
 * What Mbed TLS takes of a C library: nothing.
 */
