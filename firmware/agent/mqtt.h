/* SPDX-License-Identifier: Apache-2.0
 *
 * An MQTT 5 client (OASIS, 2019) for one connection: QoS 0 and 1, last will, session expiry,
 * receive maximum, maximum packet size, message expiry, response topic and correlation data.
 *
 * The caller owns all memory and calls tml_mqtt_step again and again; no call waits. One message
 * of QoS 1 is under way at a time: it stays in the `tx` buffer until it is acknowledged, also
 * across lost connections. An incoming message is acknowledged when the caller is done with it.
 */
#ifndef TINYML_AGENT_MQTT_H
#define TINYML_AGENT_MQTT_H

#include "cbor.h"

/* How bytes get to the broker. */
typedef struct {
    void *context;
    /* Starts or continues to connect: 1 connected, 0 not yet, -1 failed. */
    int (*open)(void *context);
    /* Bytes taken or given, 0 when none can be now, -1 when the connection is gone. */
    int32_t (*send)(void *context, const uint8_t *data, uint32_t size);
    int32_t (*receive)(void *context, uint8_t *data, uint32_t size);
    void (*close)(void *context);
    uint32_t (*random)(void *context);
} tml_transport_t;

/* What the broker delivered. Views are into the `rx` buffer. */
typedef struct {
    tml_bytes_t topic, payload;
    tml_bytes_t response_topic, correlation; /* empty when absent */
} tml_mqtt_message_t;

/* All text is without a terminating zero. */
typedef struct {
    tml_bytes_t client_id, user, password; /* no user and password when user is empty */
    tml_bytes_t prefix;                    /* of every topic: "tinyml/v1/TENANT/DEVICE/" */
    tml_bytes_t subscription;              /* below the prefix: "down/#" */
    tml_bytes_t will_topic;                /* below the prefix; retained, QoS 1 */
    uint32_t will_delay_s;
    uint32_t session_expiry_s;
    uint16_t keep_alive_s;
    uint16_t receive_maximum;
    uint32_t backoff_ms, longest_backoff_ms; /* full jitter between 0 and the doubled wait */
} tml_mqtt_config_t;

typedef enum {
    TML_MQTT_WAITING,  /* for the next attempt */
    TML_MQTT_OPENING,  /* the transport connects */
    TML_MQTT_GREETING, /* CONNECT and SUBSCRIBE go out */
    TML_MQTT_GREETED,  /* waiting for CONNACK and SUBACK */
    TML_MQTT_CONNECTED
} tml_mqtt_state_t;

typedef struct {
    const tml_mqtt_config_t *config;
    const tml_transport_t *transport;
    tml_bytes_t will_payload;
    uint8_t *rx, *tx;
    uint32_t rx_size, tx_size;
    uint32_t rx_used;
    uint32_t taken;          /* bytes at the start of rx of the message that the caller looks at */
    uint32_t tx_from, tx_to; /* the message in `tx`; tx_from < tx_to: some of it is to be sent */
    uint32_t tx_start;       /* where the message starts, for sending it again */
    uint32_t sent_ms, received_ms, retry_ms;
    uint32_t largest_packet; /* that the broker takes */
    uint16_t keep_alive_s;
    uint16_t packet_id; /* of the message in `tx`; 0 when it is of QoS 0 */
    uint16_t last_packet_id;
    uint8_t state;
    uint8_t failures; /* in a row, for the backoff */
    uint8_t reason;   /* last reason code of the broker that was an error, 0: none */
    bool tx_busy;     /* a message is in `tx` */
    bool connack, pinged;
    uint8_t control[16]; /* acknowledgements and pings that are to be sent */
    uint8_t control_used;
} tml_mqtt_t;

/* rx: holds the largest packet the client accepts, which the broker is told; tx: the largest it
 * publishes. Both at least TML_MQTT_LEAST_BUFFER, and rx room for CONNECT. */
enum { TML_MQTT_LEAST_BUFFER = 256 };
void tml_mqtt_init(tml_mqtt_t *mqtt, const tml_mqtt_config_t *config, tml_bytes_t will_payload,
                   const tml_transport_t *transport, uint8_t *rx, uint32_t rx_size, uint8_t *tx,
                   uint32_t tx_size);

/* Does what can be done now. now_ms may wrap. True when a message has come: it stays in rx, and
 * nothing else is received, until tml_mqtt_done. */
bool tml_mqtt_step(tml_mqtt_t *mqtt, uint32_t now_ms);

/* The message that has come. */
void tml_mqtt_message(const tml_mqtt_t *mqtt, tml_mqtt_message_t *message);
/* The caller is done with it: it is acknowledged. */
void tml_mqtt_done(tml_mqtt_t *mqtt);

/* Gives the connection up; the next step plans another attempt. */
void tml_mqtt_drop(tml_mqtt_t *mqtt, uint32_t now_ms);

/* Says goodbye, so that the broker does not send the will, and closes. */
void tml_mqtt_disconnect(tml_mqtt_t *mqtt);

/* Whether a message can be begun. */
bool tml_mqtt_is_ready(const tml_mqtt_t *mqtt);

typedef struct {
    tml_bytes_t topic;          /* below the prefix */
    tml_bytes_t response_topic; /* below the prefix; empty: none */
    tml_bytes_t correlation;    /* empty: none */
    uint32_t expiry_s;          /* 0: never */
    uint8_t qos;                /* 0 or 1 */
    bool retain;
} tml_publish_t;

/* Writes the head of a message when tml_mqtt_is_ready; returns where its payload goes and how much
 * room there is, null when there is none. Nothing is sent before tml_mqtt_commit. */
uint8_t *tml_mqtt_begin(tml_mqtt_t *mqtt, const tml_publish_t *publish, uint32_t *room);
/* Sends the message with this many bytes of payload. */
void tml_mqtt_commit(tml_mqtt_t *mqtt, const tml_publish_t *publish, uint32_t payload_bytes);

#endif
