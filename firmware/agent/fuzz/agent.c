/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer: a whole agent whose broker sends what the input says. The first byte chooses: bytes
 * from the first one on (MQTT), or a proper greeting and then messages on its topics, each
 * "topic, length, payload". Whatever comes, the agent runs its model and its flash is used well.
 */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

#include "ram_flash.h"
#include "sample_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    const uint8_t *data;
    size_t left;
    uint32_t seed, piece;
} wire;

static int wire_open(void *context) {
    (void)context;
    return 1;
}

static int32_t wire_send(void *context, const uint8_t *data, uint32_t size) {
    (void)context;
    (void)data;
    /* Now and then the line is full. */
    return ++wire.seed % 5 ? (int32_t)size : (int32_t)(size / 2);
}

static int32_t wire_receive(void *context, uint8_t *to, uint32_t size) {
    (void)context;
    if (wire.left == 0) return -1;
    uint32_t some = wire.piece ? wire.piece : size;
    if (some > size) some = size;
    if (some > wire.left) some = (uint32_t)wire.left;
    memcpy(to, wire.data, some);
    wire.data += some;
    wire.left -= some;
    return (int32_t)some;
}

static void wire_close(void *context) {
    (void)context;
}

static uint32_t wire_random(void *context) {
    (void)context;
    return wire.seed += 12345;
}

static uint32_t micros(void *context) {
    (void)context;
    return 0;
}

static bool sample(void *context, const tml_model_t *model, uint8_t *arena) {
    (void)context;
    (void)model;
    arena[0] = 1;
    return true;
}

static void reboot(void *context) {
    (void)context;
}

/* A greeting that is accepted, then messages. */
static size_t script(const uint8_t *data, size_t size, uint8_t *to, size_t room) {
    static const uint8_t greeting[] = {0x20, 3, 0, 0, 0, 0x90, 4, 0, 1, 0, 1};
    static const char *const topics[] = {"job", "twin", "blob", "rpc", "train", "other"};
    static const char prefix[] = "tinyml/v1/acme/kitchen-1/down/";
    memcpy(to, greeting, sizeof greeting);
    size_t used = sizeof greeting;
    while (size >= 3) {
        const char *topic = topics[data[0] % 6];
        size_t payload = (size_t)data[1] | (size_t)(data[2] & 3) << 8;
        data += 3;
        size -= 3;
        if (payload > size) payload = size;
        const size_t name = sizeof prefix - 1 + strlen(topic);
        const size_t body = 2 + name + 2 + 1 + payload;
        if (used + body + 5 > room) break;
        to[used++] = 0x32;
        to[used++] = (uint8_t)(body & 0x7F) | 0x80;
        to[used++] = (uint8_t)(body >> 7);
        to[used++] = 0;
        to[used++] = (uint8_t)name;
        memcpy(to + used, prefix, sizeof prefix - 1);
        memcpy(to + used + sizeof prefix - 1, topic, strlen(topic));
        used += name;
        to[used++] = 0;
        to[used++] = 9;
        to[used++] = 0;
        memcpy(to + used, data, payload);
        used += payload;
        data += payload;
        size -= payload;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t arena[SAMPLE_ARENA] TML_ALIGNED;
    static uint8_t rx[1024], tx[512], stream[1 << 15];
    static tml_agent_t agent;
    static const uint8_t roots[1][TML_KEY_BYTES] = {{1}};
    if (size < 2) return 0;
    tml_agent_config_t config = {
        .identity = {.tenant = {(const uint8_t *)"acme", 4},
                     .device = {(const uint8_t *)"kitchen-1", 9},
                     .vendor = {(const uint8_t *)"generic", 7},
                     .hardware = {(const uint8_t *)"host", 4},
                     .firmware = {(const uint8_t *)"1", 1},
                     .roots = roots,
                     .root_count = 1},
        .model = &sample_model,
        .arena = arena,
        .flash = ram_flash,
        .transport = {.open = wire_open,
                      .send = wire_send,
                      .receive = wire_receive,
                      .close = wire_close,
                      .random = wire_random},
        .rx = rx,
        .tx = tx,
        .rx_bytes = sizeof rx,
        .tx_bytes = sizeof tx,
        .inference_interval_ms = 50000,
        .report_interval_s = 10,
        .mqtt = {.client_id = {(const uint8_t *)"kitchen-1", 9},
                 .prefix = {(const uint8_t *)"tinyml/v1/acme/kitchen-1/", 25},
                 .subscription = TML_SUBSCRIPTION,
                 .will_topic = TML_WILL_TOPIC,
                 .keep_alive_s = 60,
                 .receive_maximum = 2,
                 .backoff_ms = 100,
                 .longest_backoff_ms = 1000},
        .micros = micros,
        .sample = sample,
        .reboot = reboot,
    };
    wire.seed = data[1];
    wire.piece = data[1] % 64;
    wire.data = data + 2;
    wire.left = size - 2;
    if (data[0] & 1) {
        wire.left = script(data + 2, size - 2, stream, sizeof stream);
        wire.data = stream;
    }
    memset(ram.bytes, data[0] & 2 ? 0xFF : 0x5A, sizeof ram.bytes);
    ram.cut_at = 0;
    ram.misuses = 0;
    tml_agent_init(&agent, &config, 0);
    for (uint32_t now = 0; now < 60000 && wire.left; now += 500) tml_agent_step(&agent, now);
    if (ram.misuses) abort();
    /* Nothing was signed, so nothing but the model compiled in may run. */
    if (tml_update_weights(&agent.update) != sample_weights) abort();
    return 0;
}
