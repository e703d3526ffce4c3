/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's transport over non-blocking TCP, with TLS by Mbed TLS where a CA is given.
 */
#ifndef TINYML_AGENT_POSIX_NET_H
#define TINYML_AGENT_POSIX_NET_H

#include <mbedtls/ssl.h>
#include <netdb.h>

#include "mqtt.h"

/* The broker, shared by all connections. */
typedef struct {
    const char *host;
    struct addrinfo *addresses;
    bool has_tls;
    mbedtls_ssl_config tls;
    int poll;            /* of epoll */
    double cut_fraction; /* of connections, which break after random bytes; for tests */
} posix_broker_t;

typedef struct {
    posix_broker_t *broker;
    mbedtls_ssl_context tls;
    uint32_t id; /* in epoll's events */
    int socket;  /* -1: closed */
    bool is_connected, has_session;
    uint32_t cut_after; /* bytes; UINT32_MAX: never */
} posix_connection_t;

/* "HOST:PORT"; ca: a PEM file, null for no TLS. Prints what is wrong and returns -1. */
int posix_broker_init(posix_broker_t *broker, const char *address, const char *ca);
void posix_connection_init(posix_connection_t *connection, posix_broker_t *broker, uint32_t id,
                           tml_transport_t *transport);
/* Whether bytes were decrypted that epoll does not know of. */
bool posix_connection_has_bytes(const posix_connection_t *connection);
uint32_t posix_random(void *context);

#endif
