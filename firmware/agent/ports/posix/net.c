/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

uint32_t posix_random(void *context) {
    static uint32_t pool[64];
    static uint32_t left;
    (void)context;
    if (left == 0) {
        if (getrandom(pool, sizeof pool, 0) != (ssize_t)sizeof pool) abort();
        left = 64;
    }
    return pool[--left];
}

static int random_bytes(void *context, unsigned char *to, size_t size) {
    (void)context;
    return getrandom(to, size, 0) == (ssize_t)size ? 0 : MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
}

int posix_broker_init(posix_broker_t *broker, const char *address, const char *ca) {
    static char host[256];
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address || (size_t)(colon - address) >= sizeof host) {
        fprintf(stderr, "error: --broker %s is not HOST:PORT\n", address);
        return -1;
    }
    memcpy(host, address, (size_t)(colon - address));
    broker->host = host;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const int found = getaddrinfo(host, colon + 1, &hints, &broker->addresses);
    if (found != 0) {
        fprintf(stderr, "error: %s: %s\n", address, gai_strerror(found));
        return -1;
    }
    if (!ca) return 0;
    broker->has_tls = true;
    static mbedtls_x509_crt chain;
    mbedtls_x509_crt_init(&chain);
    const int parsed = mbedtls_x509_crt_parse_file(&chain, ca);
    if (parsed != 0) {
        char why[100];
        mbedtls_strerror(parsed, why, sizeof why);
        fprintf(stderr, "error: --ca %s: %s\n", ca, why);
        return -1;
    }
    mbedtls_ssl_config_init(&broker->tls);
    if (mbedtls_ssl_config_defaults(&broker->tls, MBEDTLS_SSL_IS_CLIENT,
                                    MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0) {
        return -1;
    }
    mbedtls_ssl_conf_authmode(&broker->tls, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&broker->tls, &chain, NULL);
    mbedtls_ssl_conf_rng(&broker->tls, random_bytes, NULL);
    mbedtls_ssl_conf_min_version(&broker->tls, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
    return 0;
}

static void close_connection(void *context) {
    posix_connection_t *connection = context;
    if (connection->socket >= 0) close(connection->socket);
    if (connection->has_session) mbedtls_ssl_free(&connection->tls);
    connection->socket = -1;
    connection->is_connected = connection->has_session = false;
}

static int tls_send(void *context, const unsigned char *data, size_t size) {
    const posix_connection_t *connection = context;
    const ssize_t sent = send(connection->socket, data, size, MSG_NOSIGNAL);
    if (sent >= 0) return (int)sent;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_WRITE : -1;
}

static int tls_receive(void *context, unsigned char *data, size_t size) {
    const posix_connection_t *connection = context;
    const ssize_t got = recv(connection->socket, data, size, 0);
    if (got >= 0) return (int)got;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ : -1;
}

static void watch(const posix_connection_t *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = connection->id};
    epoll_ctl(connection->broker->poll, operation, connection->socket, &event);
}

static int start(posix_connection_t *connection) {
    const posix_broker_t *broker = connection->broker;
    const struct addrinfo *address = broker->addresses;
    connection->socket = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->socket < 0) return -1;
    const int yes = 1;
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(connection, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
    if (connect(connection->socket, address->ai_addr, address->ai_addrlen) != 0 &&
        errno != EINPROGRESS) {
        return -1;
    }
    connection->cut_after = UINT32_MAX;
    if (posix_random(NULL) < broker->cut_fraction * 4294967296.0) {
        connection->cut_after = posix_random(NULL) % 100000u;
    }
    if (broker->has_tls) {
        mbedtls_ssl_init(&connection->tls);
        connection->has_session = true;
        if (mbedtls_ssl_setup(&connection->tls, &broker->tls) != 0 ||
            mbedtls_ssl_set_hostname(&connection->tls, broker->host) != 0) {
            return -1;
        }
        mbedtls_ssl_set_bio(&connection->tls, connection, tls_send, tls_receive, NULL);
    }
    return 0;
}

static int proceed(posix_connection_t *connection) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(connection->socket, (struct sockaddr *)&peer, &size) != 0) {
        int error = 0;
        size = sizeof error;
        getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &error, &size);
        return error ? -1 : 0;
    }
    if (!connection->is_connected) watch(connection, EPOLL_CTL_MOD, EPOLLIN);
    connection->is_connected = true;
    if (!connection->has_session) return 1;
    const int shaken = mbedtls_ssl_handshake(&connection->tls);
    if (shaken == 0) return 1;
    if (shaken == MBEDTLS_ERR_SSL_WANT_READ || shaken == MBEDTLS_ERR_SSL_WANT_WRITE) return 0;
    static bool told;
    if (!told) {
        char why[100];
        mbedtls_strerror(shaken, why, sizeof why);
        fprintf(stderr, "warning: TLS with %s: %s\n", connection->broker->host, why);
        told = true;
    }
    return -1;
}

static int open_connection(void *context) {
    posix_connection_t *connection = context;
    if (connection->socket < 0 && start(connection) != 0) {
        close_connection(connection);
        return -1;
    }
    return proceed(connection);
}

static int32_t outcome(int result) {
    if (result > 0) return result;
    return result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE ? 0 : -1;
}

static int32_t send_bytes(void *context, const uint8_t *data, uint32_t size) {
    posix_connection_t *connection = context;
    return outcome(connection->has_session ? mbedtls_ssl_write(&connection->tls, data, size)
                                           : tls_send(connection, data, size));
}

static int32_t receive_bytes(void *context, uint8_t *data, uint32_t size) {
    posix_connection_t *connection = context;
    const int32_t got =
        outcome(connection->has_session ? mbedtls_ssl_read(&connection->tls, data, size)
                                        : tls_receive(connection, data, size));
    if (got > 0 && connection->cut_after != UINT32_MAX) {
        if ((uint32_t)got >= connection->cut_after) return -1;
        connection->cut_after -= (uint32_t)got;
    }
    return got;
}

bool posix_connection_has_bytes(const posix_connection_t *connection) {
    return connection->has_session && mbedtls_ssl_get_bytes_avail(&connection->tls) > 0;
}

void posix_connection_init(posix_connection_t *connection, posix_broker_t *broker, uint32_t id,
                           tml_transport_t *transport) {
    memset(connection, 0, sizeof *connection);
    connection->broker = broker;
    connection->id = id;
    connection->socket = -1;
    *transport = (tml_transport_t){.context = connection,
                                   .open = open_connection,
                                   .send = send_bytes,
                                   .receive = receive_bytes,
                                   .close = close_connection,
                                   .random = posix_random};
}
