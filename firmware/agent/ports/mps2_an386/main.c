/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent on the emulated Cortex-M4 board mps2-an386. QEMU bridges UART 0 to the broker's TCP
 * port; the flash with the model's slots is memory that is also kept in a file of the host.
 *
 * Reads device.txt: tenant, device, password ("-": none), root key in hexadecimal, a line each;
 * input.bin: sensor data, int8 samples back to back, replayed again and again; and, to learn from,
 * rows.f32 (learner.h).
 */
#include TML_MODEL_HEADER

#include "agent.h"
#include "board.h"
#include "learner.h"
#include "memory.h"
#include "port.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define MODEL JOIN(TML_MODEL_NAME, _model)

enum { CHUNK = 1024, RX_BYTES = CHUNK + 128, TX_BYTES = 384 };
/* Room for the weights and some golden inputs. */
enum {
    WEIGHTS = JOIN(TML_MODEL_NAME, _weights_bytes),
    SLOT = (WEIGHTS + WEIGHTS / 4 + 2 * BOARD_PAGE) / BOARD_PAGE * BOARD_PAGE,
    FLASH = TML_JOURNAL_PAGES * BOARD_PAGE + TML_SLOTS * SLOT
};

static uint8_t arena[JOIN(TML_MODEL_NAME, _arena_bytes)] TML_ALIGNED;
static uint8_t board_flash[FLASH] TML_ALIGNED; /* stands for flash: no part of the agent's RAM */
static uint8_t rx[RX_BYTES], tx[TX_BYTES];
static tml_agent_t agent;
static tml_agent_config_t config;

static char settings[320], prefix[96];
static uint8_t root[1][TML_KEY_BYTES];
static int samples;

static uint32_t micros(void *context) {
    (void)context;
    return board_micros();
}

static uint32_t now_ms(void) {
    static uint32_t last_us, rest_us, ms;
    const uint32_t us = board_micros();
    rest_us += us - last_us;
    last_us = us;
    ms += rest_us / 1000u;
    rest_us %= 1000u;
    return ms;
}

static bool sample(void *context, const tml_model_t *model, uint8_t *to) {
    (void)context;
    if (samples < 0) return false;
    for (uint32_t i = 0; i < model->input_count; ++i) {
        const tml_io_t *input = &model->inputs[i];
        if (tml_read(samples, to + input->offset, input->bytes) == (int32_t)input->bytes) continue;
        /* From the start again at the end. */
        tml_close(samples);
        samples = tml_open("input.bin", TML_READ);
        return false;
    }
    return true;
}

static void reboot(void *context) {
    (void)context;
    tml_agent_stop(&agent);
    board_reset();
}

static uint32_t stack_bytes(void *context) {
    (void)context;
    return board_stack_bytes();
}

static uint32_t digit(char c) {
    if (c >= '0' && c <= '9') return (uint32_t)(c - '0');
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

static tml_bytes_t next_line(char **at) {
    tml_bytes_t line = {(const uint8_t *)*at, 0};
    while (**at && **at != '\n') ++*at, ++line.size;
    if (**at) ++*at;
    return line;
}

static bool read_settings(void) {
    const int file = tml_open("device.txt", TML_READ);
    if (file < 0 || tml_read(file, settings, sizeof settings - 1) <= 0) return false;
    tml_close(file);
    char *at = settings;
    tml_identity_t *identity = &config.identity;
    identity->tenant = next_line(&at);
    identity->device = next_line(&at);
    const tml_bytes_t password = next_line(&at);
    const tml_bytes_t key = next_line(&at);
    if (identity->tenant.size > 32 || identity->device.size > 32) return false;
    if (key.size != 2 * TML_KEY_BYTES) return false;
    config.mqtt.client_id = identity->device;
    if (password.size != 1 || password.data[0] != '-') {
        config.mqtt.user = identity->device;
        config.mqtt.password = password;
    }
    for (uint32_t i = 0; i < TML_KEY_BYTES; ++i) {
        const uint32_t high = digit((char)key.data[2 * i]), low = digit((char)key.data[2 * i + 1]);
        if (high > 15 || low > 15) return false;
        root[0][i] = (uint8_t)(high << 4 | low);
    }
    static const char start[] = "tinyml/v1/";
    uint32_t used = sizeof start - 1;
    memcpy(prefix, start, used);
    memcpy(prefix + used, identity->tenant.data, identity->tenant.size);
    used += identity->tenant.size;
    prefix[used++] = '/';
    memcpy(prefix + used, identity->device.data, identity->device.size);
    used += identity->device.size;
    prefix[used++] = '/';
    config.mqtt.prefix = (tml_bytes_t){(const uint8_t *)prefix, used};
    return true;
}

#define TEXT(text)                                                                                 \
    { (const uint8_t *)(text), sizeof(text) - 1 }

int main(void) {
    board_init(board_flash, FLASH);
    config = (tml_agent_config_t){
        .identity = {.vendor = TEXT("generic"),
                     .hardware = TEXT("cortex-m4"),
                     .firmware = TEXT("1.0.0"),
                     .roots = root,
                     .root_count = 1,
                     .opset = UINT64_MAX},
        .model = &MODEL,
        .arena = arena,
        .flash = {.base = board_flash,
                  .page_bytes = BOARD_PAGE,
                  .slot_bytes = SLOT,
                  .erase = board_erase,
                  .program = board_program},
        .transport = board_transport,
        .trainer = board_trainer(),
        .rx = rx,
        .tx = tx,
        .rx_bytes = RX_BYTES,
        .tx_bytes = TX_BYTES,
        .inference_interval_ms = 1000,
        .report_interval_s = 10,
        .mqtt = {.subscription = TML_SUBSCRIPTION,
                 .will_topic = TML_WILL_TOPIC,
                 .will_delay_s = 30,
                 .session_expiry_s = 86400,
                 .keep_alive_s = 20,
                 .receive_maximum = 4,
                 .backoff_ms = 2000,
                 .longest_backoff_ms = 60000},
        .micros = micros,
        .sample = sample,
        .reboot = reboot,
        .stack_bytes = stack_bytes,
    };
    if (!read_settings()) {
        tml_print("device.txt: needs tenant, device, password and root key, a line each");
        return 1;
    }
    samples = tml_open("input.bin", TML_READ);
    tml_agent_init(&agent, &config, now_ms());
    for (;;) {
        if (tml_agent_step(&agent, now_ms()) > 0) board_wait();
    }
}
