/* SPDX-License-Identifier: Apache-2.0 */
#include "mqtt.h"

#include "memory.h"

enum {
    CONNECT = 0x10,
    CONNACK = 0x20,
    PUBLISH = 0x30,
    PUBACK = 0x40,
    SUBSCRIBE = 0x82,
    SUBACK = 0x90,
    PINGREQ = 0xC0,
    PINGRESP = 0xD0,
    DISCONNECT = 0xE0
};
/* Section 2.2.2.2. */
enum {
    MESSAGE_EXPIRY = 0x02,
    RESPONSE_TOPIC = 0x08,
    CORRELATION = 0x09,
    SESSION_EXPIRY = 0x11,
    SERVER_KEEP_ALIVE = 0x13,
    WILL_DELAY = 0x18,
    RECEIVE_MAXIMUM = 0x21,
    MAXIMUM_QOS = 0x24,
    MAXIMUM_PACKET = 0x27
};
enum { RETAIN = 1, QOS1 = 2, DUP = 8 };
enum { HEAD_BYTES = 5 }; /* type and the longest length */
enum { SUBSCRIBE_ID = 1, ERROR = 0x80 };

static void put16(tml_writer_t *writer, uint32_t value) {
    const uint8_t data[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    tml_cbor_put_raw(writer, data, 2);
}

static void put_property16(tml_writer_t *writer, uint8_t id, uint32_t value) {
    tml_cbor_put_raw(writer, &id, 1);
    put16(writer, value);
}

static void put_property32(tml_writer_t *writer, uint8_t id, uint32_t value) {
    put_property16(writer, id, value >> 16);
    put16(writer, value & 0xFFFF);
}

static void put_string(tml_writer_t *writer, tml_bytes_t a, tml_bytes_t b) {
    put16(writer, a.size + b.size);
    tml_cbor_put_raw(writer, a.data, a.size);
    tml_cbor_put_raw(writer, b.data, b.size);
}

/* Puts the type and length before a body that starts HEAD_BYTES behind `buffer`; returns where the
 * packet starts. */
static uint32_t put_head(uint8_t *buffer, uint32_t type, uint32_t body) {
    uint8_t head[HEAD_BYTES];
    uint32_t used = 0;
    head[used++] = (uint8_t)type;
    do {
        head[used] = (uint8_t)(body & 0x7F);
        body >>= 7;
        if (body) head[used] |= 0x80;
        ++used;
    } while (body);
    memcpy(buffer + HEAD_BYTES - used, head, used);
    return HEAD_BYTES - used;
}

static const tml_bytes_t nothing = {0, 0};

/* CONNECT (3.1) and SUBSCRIBE (3.8) into rx, which is free until they are sent; returns their end,
 * and their start by rx_used. */
static bool write_greeting(tml_mqtt_t *mqtt) {
    const tml_mqtt_config_t *config = mqtt->config;
    static const uint8_t protocol[] = {0, 4, 'M', 'Q', 'T', 'T', 5};
    tml_writer_t writer = {mqtt->rx + HEAD_BYTES, mqtt->rx + mqtt->rx_size, false};
    tml_cbor_put_raw(&writer, protocol, sizeof protocol);
    uint8_t flags = 0;
    if (config->will_topic.size) flags |= 0x04 | 0x08 | 0x20;
    if (config->user.size) flags |= 0xC0;
    tml_cbor_put_raw(&writer, &flags, 1);
    put16(&writer, config->keep_alive_s);
    static const uint8_t connect_properties[] = {5 + 3 + 5};
    tml_cbor_put_raw(&writer, connect_properties, 1);
    put_property32(&writer, SESSION_EXPIRY, config->session_expiry_s);
    put_property16(&writer, RECEIVE_MAXIMUM, config->receive_maximum);
    put_property32(&writer, MAXIMUM_PACKET, mqtt->rx_size);
    put_string(&writer, config->client_id, nothing);
    if (config->will_topic.size) {
        static const uint8_t will_properties[] = {5};
        tml_cbor_put_raw(&writer, will_properties, 1);
        put_property32(&writer, WILL_DELAY, config->will_delay_s);
        put_string(&writer, config->prefix, config->will_topic);
        put_string(&writer, mqtt->will_payload, nothing);
    }
    if (config->user.size) {
        put_string(&writer, config->user, nothing);
        put_string(&writer, config->password, nothing);
    }
    if (writer.full || mqtt->rx_size < TML_MQTT_LEAST_BUFFER) return false;
    uint32_t end = (uint32_t)(writer.at - mqtt->rx);
    const uint32_t start = put_head(mqtt->rx, CONNECT, end - HEAD_BYTES);

    uint8_t *subscribe = mqtt->rx + end;
    if (mqtt->rx_size - end < HEAD_BYTES) return false;
    writer.at = subscribe + HEAD_BYTES;
    put16(&writer, SUBSCRIBE_ID);
    static const uint8_t no_properties[] = {0}, options[] = {1};
    tml_cbor_put_raw(&writer, no_properties, 1);
    put_string(&writer, config->prefix, config->subscription);
    tml_cbor_put_raw(&writer, options, 1);
    if (writer.full) return false;
    const uint32_t body = (uint32_t)(writer.at - subscribe) - HEAD_BYTES;
    const uint32_t gap = put_head(subscribe, SUBSCRIBE, body);
    memmove(subscribe, subscribe + gap, HEAD_BYTES - gap + body);
    end += HEAD_BYTES - gap + body;
    mqtt->rx_used = end - start;
    memmove(mqtt->rx, mqtt->rx + start, mqtt->rx_used);
    return true;
}

static bool take16(tml_reader_t *reader, uint32_t *value) {
    if (reader->end - reader->at < 2) return false;
    *value = (uint32_t)reader->at[0] << 8 | reader->at[1];
    reader->at += 2;
    return true;
}

static bool take_bytes(tml_reader_t *reader, uint32_t size, tml_bytes_t *view) {
    if ((uint32_t)(reader->end - reader->at) < size) return false;
    *view = (tml_bytes_t){reader->at, size};
    reader->at += size;
    return true;
}

static bool take_string(tml_reader_t *reader, tml_bytes_t *view) {
    uint32_t size;
    return take16(reader, &size) && take_bytes(reader, size, view);
}

/* Section 1.5.5: 1 when there, 0 when more bytes are needed, -1 when it is malformed. */
static int take_length(tml_reader_t *reader, uint32_t *value) {
    *value = 0;
    for (uint32_t shift = 0; shift < 28; shift += 7) {
        if (reader->at == reader->end) return 0;
        const uint32_t byte = *reader->at++;
        *value |= (byte & 0x7F) << shift;
        if (byte < 0x80) return 1;
    }
    return -1;
}

/* One property: a number or a string. */
static bool take_property(tml_reader_t *reader, uint8_t *id, uint32_t *number, tml_bytes_t *view) {
    *id = *reader->at++;
    uint32_t width = 4;
    switch (*id) {
    case 0x0B:
        return take_length(reader, number) == 1;
    case 0x26:
        return take_string(reader, view) && take_string(reader, view);
    case 0x03:
    case RESPONSE_TOPIC:
    case CORRELATION:
    case 0x12:
    case 0x15:
    case 0x16:
    case 0x1A:
    case 0x1C:
    case 0x1F:
        return take_string(reader, view);
    case MESSAGE_EXPIRY:
    case SESSION_EXPIRY:
    case WILL_DELAY:
    case MAXIMUM_PACKET:
        break;
    case SERVER_KEEP_ALIVE:
    case RECEIVE_MAXIMUM:
    case 0x22:
    case 0x23:
        width = 2;
        break;
    case 0x01:
    case 0x17:
    case 0x19:
    case MAXIMUM_QOS:
    case 0x25:
    case 0x28:
    case 0x29:
    case 0x2A:
        width = 1;
        break;
    default:
        return false;
    }
    if (!take_bytes(reader, width, view)) return false;
    *number = 0;
    for (uint32_t i = 0; i < width; ++i) *number = *number << 8 | view->data[i];
    return true;
}

/* The properties' length, then a reader over them. */
static bool take_properties(tml_reader_t *reader, tml_reader_t *properties) {
    uint32_t size;
    tml_bytes_t view;
    if (take_length(reader, &size) != 1 || !take_bytes(reader, size, &view)) return false;
    *properties = (tml_reader_t){view.data, view.data + size};
    return true;
}

static void send_control(tml_mqtt_t *mqtt, const uint8_t *packet, uint32_t size) {
    memcpy(mqtt->control + mqtt->control_used, packet, size);
    mqtt->control_used = (uint8_t)(mqtt->control_used + size);
}

static bool on_connack(tml_mqtt_t *mqtt, tml_reader_t reader) {
    tml_bytes_t codes;
    tml_reader_t properties;
    if (mqtt->connack || !take_bytes(&reader, 2, &codes)) return false;
    mqtt->reason = codes.data[1];
    if (mqtt->reason >= ERROR || !take_properties(&reader, &properties)) return false;
    while (properties.at < properties.end) {
        uint8_t id;
        uint32_t number = 0;
        tml_bytes_t view;
        if (!take_property(&properties, &id, &number, &view)) return false;
        if (id == SERVER_KEEP_ALIVE) mqtt->keep_alive_s = (uint16_t)number;
        if (id == MAXIMUM_PACKET) mqtt->largest_packet = number;
        if (id == MAXIMUM_QOS && number == 0) return false;
    }
    mqtt->connack = true;
    if (mqtt->tx_busy) {
        /* The session knows the message only if it is the same session. */
        const bool is_present = codes.data[0] & 1;
        uint8_t *type = mqtt->tx + mqtt->tx_start;
        *type = (uint8_t)(is_present ? *type | DUP : *type & ~DUP);
        mqtt->tx_from = mqtt->tx_start;
    }
    return true;
}

static bool on_suback(tml_mqtt_t *mqtt, tml_reader_t reader) {
    uint32_t id;
    tml_bytes_t code;
    tml_reader_t properties;
    if (!take16(&reader, &id) || id != SUBSCRIBE_ID || !mqtt->connack) return false;
    if (!take_properties(&reader, &properties) || !take_bytes(&reader, 1, &code)) return false;
    if (*code.data >= ERROR) {
        mqtt->reason = *code.data;
        return false;
    }
    mqtt->state = TML_MQTT_CONNECTED;
    mqtt->failures = 0;
    return true;
}

static bool on_puback(tml_mqtt_t *mqtt, tml_reader_t reader) {
    uint32_t id;
    tml_bytes_t code;
    if (!take16(&reader, &id)) return false;
    if (take_bytes(&reader, 1, &code) && *code.data >= ERROR) mqtt->reason = *code.data;
    /* Another id acknowledges what an earlier connection sent twice. */
    if (mqtt->tx_busy && mqtt->packet_id == id && mqtt->tx_from == mqtt->tx_to) {
        mqtt->tx_busy = false;
    }
    return true;
}

/* Takes a PUBLISH packet apart, from the topic on. id is 0 for QoS 0. */
static bool read_publish(uint32_t type, tml_reader_t reader, tml_mqtt_message_t *message,
                         uint32_t *id) {
    tml_reader_t properties;
    const uint32_t qos = type >> 1 & 3;
    *message = (tml_mqtt_message_t){nothing, nothing, nothing, nothing};
    *id = 0;
    if (qos > 1 || !take_string(&reader, &message->topic)) return false;
    if (qos == 1 && (!take16(&reader, id) || *id == 0)) return false;
    if (!take_properties(&reader, &properties)) return false;
    while (properties.at < properties.end) {
        uint8_t property;
        uint32_t number;
        tml_bytes_t view = nothing;
        if (!take_property(&properties, &property, &number, &view)) return false;
        if (property == RESPONSE_TOPIC) message->response_topic = view;
        if (property == CORRELATION) message->correlation = view;
    }
    message->payload = (tml_bytes_t){reader.at, (uint32_t)(reader.end - reader.at)};
    return true;
}

static bool on_packet(tml_mqtt_t *mqtt, uint8_t type, tml_reader_t reader) {
    switch (type) {
    case CONNACK:
        return on_connack(mqtt, reader);
    case SUBACK:
        return on_suback(mqtt, reader);
    case PUBACK:
        return on_puback(mqtt, reader);
    case PINGRESP:
        mqtt->pinged = false;
        return true;
    case DISCONNECT: {
        tml_bytes_t code;
        if (take_bytes(&reader, 1, &code)) mqtt->reason = *code.data;
        return false;
    }
    default:
        return false;
    }
}

/* The first packet in rx: its body, and the bytes it takes with its head. 1 when it is whole, 0
 * when more bytes are needed, -1 when it is malformed or too large. */
static int first_packet(const tml_mqtt_t *mqtt, tml_reader_t *body, uint32_t *bytes) {
    if (mqtt->rx_used == 0) return 0;
    uint32_t size;
    *body = (tml_reader_t){mqtt->rx + 1, mqtt->rx + mqtt->rx_used};
    const int length = take_length(body, &size);
    if (length <= 0) return length;
    const uint32_t head = (uint32_t)(body->at - mqtt->rx);
    if (size > mqtt->rx_size || head + size > mqtt->rx_size) return -1;
    if ((uint32_t)(body->end - body->at) < size) return 0;
    body->end = body->at + size;
    *bytes = head + size;
    return 1;
}

static void discard(tml_mqtt_t *mqtt, uint32_t bytes) {
    mqtt->rx_used -= bytes;
    memmove(mqtt->rx, mqtt->rx + bytes, mqtt->rx_used);
}

/* Deals with packets up to a message for the caller. False: protocol error. */
static bool take_packets(tml_mqtt_t *mqtt) {
    tml_reader_t body;
    uint32_t bytes;
    /* A message needs room for its acknowledgement. */
    while (mqtt->control_used + 4u <= sizeof mqtt->control - 2u) {
        const int there = first_packet(mqtt, &body, &bytes);
        if (there <= 0) return there == 0;
        const uint8_t type = mqtt->rx[0];
        if ((type & 0xF0) == PUBLISH && mqtt->connack) {
            tml_mqtt_message_t message;
            uint32_t id;
            if (!read_publish(type, body, &message, &id)) return false;
            mqtt->taken = bytes;
            return true;
        }
        if (!on_packet(mqtt, type, body)) return false;
        discard(mqtt, bytes);
    }
    return true;
}

void tml_mqtt_message(const tml_mqtt_t *mqtt, tml_mqtt_message_t *message) {
    tml_reader_t body;
    uint32_t bytes, id;
    first_packet(mqtt, &body, &bytes);
    read_publish(mqtt->rx[0], body, message, &id);
    const tml_bytes_t prefix = mqtt->config->prefix;
    if (message->topic.size > prefix.size &&
        memcmp(message->topic.data, prefix.data, prefix.size) == 0) {
        message->topic.data += prefix.size;
        message->topic.size -= prefix.size;
    } else {
        message->topic = nothing;
    }
}

void tml_mqtt_done(tml_mqtt_t *mqtt) {
    tml_reader_t body;
    tml_mqtt_message_t message;
    uint32_t bytes, id;
    if (mqtt->taken == 0) return;
    first_packet(mqtt, &body, &bytes);
    read_publish(mqtt->rx[0], body, &message, &id);
    if (id) {
        const uint8_t ack[] = {PUBACK, 2, (uint8_t)(id >> 8), (uint8_t)id};
        send_control(mqtt, ack, sizeof ack);
    }
    discard(mqtt, mqtt->taken);
    mqtt->taken = 0;
}

void tml_mqtt_init(tml_mqtt_t *mqtt, const tml_mqtt_config_t *config, tml_bytes_t will_payload,
                   const tml_transport_t *transport, uint8_t *rx, uint32_t rx_size, uint8_t *tx,
                   uint32_t tx_size) {
    memset(mqtt, 0, sizeof *mqtt);
    mqtt->config = config;
    mqtt->transport = transport;
    mqtt->will_payload = will_payload;
    mqtt->rx = rx;
    mqtt->rx_size = rx_size;
    mqtt->tx = tx;
    mqtt->tx_size = tx_size;
    mqtt->last_packet_id = SUBSCRIBE_ID;
    mqtt->state = TML_MQTT_OPENING;
}

void tml_mqtt_drop(tml_mqtt_t *mqtt, uint32_t now_ms) {
    const tml_mqtt_config_t *config = mqtt->config;
    mqtt->transport->close(mqtt->transport->context);
    /* What is of QoS 0 and half sent is lost; QoS 1 is sent again after CONNACK. */
    if (mqtt->tx_busy && mqtt->packet_id == 0) mqtt->tx_busy = false;
    mqtt->tx_from = mqtt->tx_to;
    mqtt->taken = 0;
    mqtt->state = TML_MQTT_WAITING;
    uint32_t wait = config->backoff_ms;
    for (uint32_t i = 0; i < mqtt->failures && wait < config->longest_backoff_ms; ++i) wait *= 2;
    if (wait > config->longest_backoff_ms) wait = config->longest_backoff_ms;
    if (mqtt->failures < 31) ++mqtt->failures;
    const uint32_t random = mqtt->transport->random(mqtt->transport->context);
    mqtt->retry_ms = now_ms + random % (wait + 1);
}

void tml_mqtt_disconnect(tml_mqtt_t *mqtt) {
    static const uint8_t goodbye[] = {DISCONNECT, 0};
    if (mqtt->state == TML_MQTT_CONNECTED && mqtt->tx_from == mqtt->tx_to) {
        mqtt->transport->send(mqtt->transport->context, goodbye, sizeof goodbye);
    }
    mqtt->transport->close(mqtt->transport->context);
    mqtt->state = TML_MQTT_OPENING;
}

/* Sends what it can of `size` bytes; returns how much, -1 when the connection is gone. */
static int32_t send_some(tml_mqtt_t *mqtt, const uint8_t *data, uint32_t size, uint32_t now_ms) {
    const int32_t sent = mqtt->transport->send(mqtt->transport->context, data, size);
    if (sent > 0) mqtt->sent_ms = now_ms;
    return sent;
}

static bool step_sending(tml_mqtt_t *mqtt, uint32_t now_ms) {
    /* A message that has begun goes out before acknowledgements, which would fall into it. */
    const bool begun = mqtt->tx_from > mqtt->tx_start && mqtt->tx_from < mqtt->tx_to;
    if (!begun && mqtt->control_used) {
        const int32_t sent = send_some(mqtt, mqtt->control, mqtt->control_used, now_ms);
        if (sent < 0) return false;
        mqtt->control_used = (uint8_t)(mqtt->control_used - sent);
        memmove(mqtt->control, mqtt->control + sent, mqtt->control_used);
        if (mqtt->control_used) return true;
    }
    if (mqtt->connack && mqtt->tx_busy && mqtt->tx_from < mqtt->tx_to) {
        const int32_t sent =
            send_some(mqtt, mqtt->tx + mqtt->tx_from, mqtt->tx_to - mqtt->tx_from, now_ms);
        if (sent < 0) return false;
        mqtt->tx_from += (uint32_t)sent;
        if (mqtt->tx_from == mqtt->tx_to && mqtt->packet_id == 0) mqtt->tx_busy = false;
    }
    return true;
}

/* Section 3.1.2.10: ping at three quarters of the interval, give up after one and a half. */
static bool step_keep_alive(tml_mqtt_t *mqtt, uint32_t now_ms) {
    const uint32_t interval = 1000u * mqtt->keep_alive_s;
    if (interval == 0) return true;
    if (now_ms - mqtt->received_ms > interval + interval / 2) return false;
    const bool is_due =
        now_ms - mqtt->sent_ms >= interval / 4 * 3 || now_ms - mqtt->received_ms >= interval;
    if (is_due && !mqtt->pinged && mqtt->connack) {
        static const uint8_t ping[] = {PINGREQ, 0};
        send_control(mqtt, ping, sizeof ping);
        mqtt->pinged = true;
    }
    return true;
}

static bool step_open(tml_mqtt_t *mqtt, uint32_t now_ms) {
    if (mqtt->state == TML_MQTT_GREETING) {
        const int32_t sent = send_some(mqtt, mqtt->rx, mqtt->rx_used, now_ms);
        if (sent < 0) return false;
        mqtt->rx_used -= (uint32_t)sent;
        memmove(mqtt->rx, mqtt->rx + sent, mqtt->rx_used);
        if (mqtt->rx_used) return step_keep_alive(mqtt, now_ms);
        mqtt->state = TML_MQTT_GREETED;
    }
    const uint32_t room = mqtt->rx_size - mqtt->rx_used;
    int32_t received = 0;
    if (room && mqtt->taken == 0) {
        uint8_t *to = mqtt->rx + mqtt->rx_used;
        received = mqtt->transport->receive(mqtt->transport->context, to, room);
    }
    if (received < 0) return false;
    if (received > 0) mqtt->received_ms = now_ms;
    mqtt->rx_used += (uint32_t)received;
    if (mqtt->taken == 0 && !take_packets(mqtt)) return false;
    return step_keep_alive(mqtt, now_ms) && step_sending(mqtt, now_ms);
}

bool tml_mqtt_step(tml_mqtt_t *mqtt, uint32_t now_ms) {
    if (mqtt->state == TML_MQTT_WAITING) {
        if ((int32_t)(now_ms - mqtt->retry_ms) < 0) return false;
        mqtt->state = TML_MQTT_OPENING;
    }
    if (mqtt->state == TML_MQTT_OPENING) {
        const int opened = mqtt->transport->open(mqtt->transport->context);
        if (opened == 0) return false;
        mqtt->rx_used = mqtt->control_used = 0;
        mqtt->taken = 0;
        mqtt->connack = mqtt->pinged = false;
        mqtt->keep_alive_s = mqtt->config->keep_alive_s;
        mqtt->largest_packet = mqtt->tx_size;
        mqtt->sent_ms = mqtt->received_ms = now_ms;
        if (opened < 0 || !write_greeting(mqtt)) {
            tml_mqtt_drop(mqtt, now_ms);
            return false;
        }
        mqtt->state = TML_MQTT_GREETING;
    }
    if (!step_open(mqtt, now_ms)) tml_mqtt_drop(mqtt, now_ms);
    return mqtt->taken != 0;
}

bool tml_mqtt_is_ready(const tml_mqtt_t *mqtt) {
    return mqtt->state == TML_MQTT_CONNECTED && !mqtt->tx_busy;
}

uint8_t *tml_mqtt_begin(tml_mqtt_t *mqtt, const tml_publish_t *publish, uint32_t *room) {
    const tml_bytes_t prefix = mqtt->config->prefix;
    uint32_t most = mqtt->tx_size;
    if (most > mqtt->largest_packet) most = mqtt->largest_packet;
    if (!tml_mqtt_is_ready(mqtt) || most < HEAD_BYTES) return 0;
    tml_writer_t writer = {mqtt->tx + HEAD_BYTES, mqtt->tx + most, false};
    put_string(&writer, prefix, publish->topic);
    mqtt->packet_id = 0;
    if (publish->qos) {
        if (++mqtt->last_packet_id <= SUBSCRIBE_ID) mqtt->last_packet_id = SUBSCRIBE_ID + 1;
        mqtt->packet_id = mqtt->last_packet_id;
        put16(&writer, mqtt->packet_id);
    }
    uint8_t properties = 0;
    if (publish->expiry_s) properties = 5;
    if (publish->response_topic.size) {
        properties = (uint8_t)(properties + 3 + prefix.size + publish->response_topic.size);
    }
    if (publish->correlation.size) {
        properties = (uint8_t)(properties + 3 + publish->correlation.size);
    }
    /* A longer one would need two bytes for its length; no topic of ours is that long. */
    if (properties > 127) return 0;
    tml_cbor_put_raw(&writer, &properties, 1);
    if (publish->expiry_s) put_property32(&writer, MESSAGE_EXPIRY, publish->expiry_s);
    if (publish->response_topic.size) {
        static const uint8_t id[] = {RESPONSE_TOPIC};
        tml_cbor_put_raw(&writer, id, 1);
        put_string(&writer, prefix, publish->response_topic);
    }
    if (publish->correlation.size) {
        static const uint8_t id[] = {CORRELATION};
        tml_cbor_put_raw(&writer, id, 1);
        put_string(&writer, publish->correlation, nothing);
    }
    if (writer.full) return 0;
    *room = (uint32_t)(writer.end - writer.at);
    mqtt->tx_to = (uint32_t)(writer.at - mqtt->tx);
    return writer.at;
}

void tml_mqtt_commit(tml_mqtt_t *mqtt, const tml_publish_t *publish, uint32_t payload_bytes) {
    uint32_t type = PUBLISH;
    if (publish->qos) type |= QOS1;
    if (publish->retain) type |= RETAIN;
    mqtt->tx_to += payload_bytes;
    mqtt->tx_start = put_head(mqtt->tx, type, mqtt->tx_to - HEAD_BYTES);
    mqtt->tx_from = mqtt->tx_start;
    mqtt->tx_busy = true;
}
