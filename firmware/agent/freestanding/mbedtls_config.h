/* SPDX-License-Identifier: Apache-2.0
 *
 * Mbed TLS: two hash functions, small rather than fast.
 */
#ifndef TINYML_AGENT_MBEDTLS_CONFIG_H
#define TINYML_AGENT_MBEDTLS_CONFIG_H
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA256_SMALLER
#define MBEDTLS_SHA512_C
#define MBEDTLS_SHA512_SMALLER
#define MBEDTLS_SHA512_NO_SHA384
#define MBEDTLS_PLATFORM_NO_STD_FUNCTIONS
#endif
