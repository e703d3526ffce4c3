/* SPDX-License-Identifier: Apache-2.0
 *
 * The device agent: runs the model, reports, follows the desired state, updates itself.
 *
 *   static tml_agent_t agent;                       the caller owns all memory
 *   tml_agent_init(&agent, &config, now_ms);        boots: chooses a valid model
 *   for (;;) sleep(tml_agent_step(&agent, now_ms)); never waits
 *
 * Messages are made when they can be sent, from state: a lost connection loses none of them, and
 * no queue is needed. Only reports and log lines that find no room are dropped, and counted.
 */
#ifndef TINYML_AGENT_AGENT_H
#define TINYML_AGENT_AGENT_H

#include "mqtt.h"
#include "update.h"

/* What trains on the device; see train.h. */
typedef struct {
    void *context;
    void (*describe)(void *context, tml_learning_info_t *info);
    void (*offer)(void *context, const tml_train_job_t *job, uint32_t now_ms);
    /* Whether bytes of the job's parameters or mask are wanted. */
    bool (*wants)(const void *context, tml_bytes_t *digest, uint32_t *offset);
    bool (*chunk)(void *context, const tml_blob_reply_t *reply);
    /* Goes on; false when there is nothing to do. */
    bool (*step)(void *context, uint32_t now_ms, uint32_t now_us);
    /* The next part of the reply, with up to `room` bytes of data; false when there is none. */
    bool (*reply)(void *context, tml_train_reply_t *reply, uint32_t room);
    /* The part of the last `reply` is on its way. */
    void (*sent)(void *context);
    void (*forget)(void *context);
} tml_trainer_t;

typedef struct {
    tml_identity_t identity;
    tml_bytes_t sensors[8];
    uint32_t sensor_count;

    const tml_model_t *model;
    uint8_t *arena; /* model->arena_bytes, aligned to 16 */
    tml_flash_t flash;
    tml_transport_t transport;
    tml_mqtt_config_t mqtt;       /* receive_maximum is also how many chunks a request asks for */
    const tml_trainer_t *trainer; /* null: the device does not learn */

    uint8_t *rx, *tx; /* buffers of the MQTT client; rx limits the chunks of a download */
    uint32_t rx_bytes, tx_bytes;

    uint32_t inference_interval_ms; /* 0: none */
    uint32_t report_interval_s;     /* until the twin says otherwise; 0: none */
    uint8_t reset_reason;           /* tml_reset_reason_t */
    uint32_t resets;                /* since power-on */

    void *context; /* of what follows */
    uint32_t (*micros)(void *context);
    /* Fills the model's inputs in the arena; false when there is no sample now. */
    bool (*sample)(void *context, const tml_model_t *model, uint8_t *arena);
    /* After an inference; false when the application judges the model to be unhealthy. May be
     * null. */
    bool (*inferred)(void *context, const tml_model_t *model, const uint8_t *arena);
    void (*reboot)(void *context);
    uint32_t (*stack_bytes)(void *context); /* deepest use; may be null */
} tml_agent_config_t;

enum { TML_PRESENCE_BYTES = 12 };

/* Topics of a device, for tml_mqtt_config_t. */
#define TML_SUBSCRIPTION                                                                           \
    { (const uint8_t *)"down/#", 6 }
#define TML_WILL_TOPIC                                                                             \
    { (const uint8_t *)"up/presence", 11 }

typedef struct {
    const tml_agent_config_t *config;
    tml_update_t update;
    tml_mqtt_t mqtt;
    uint32_t boot_id, seq;
    uint32_t boot_ms, inference_ms, report_ms, ask_ms;
    uint32_t asked_to; /* end of the bytes that were asked for */
    uint32_t inferences, latency_us, dropped;
    uint32_t calls[2];  /* of RPCs that are to be answered */
    uint32_t twin_seen; /* version of a desired state that was not applied */
    uint8_t call_reasons[2], call_count;
    uint8_t twin_reason;
    uint8_t will[TML_PRESENCE_BYTES], will_bytes;
    uint16_t best;
    bool online; /* connected at the last step */
    bool must_reboot, asked_trainer;
    uint16_t pending; /* messages that are to be sent, bits of the order in agent.c */
} tml_agent_t;

void tml_agent_init(tml_agent_t *agent, const tml_agent_config_t *config, uint32_t now_ms);

/* Does what can be done now; returns after how many milliseconds to call again when no bytes come
 * before that. */
uint32_t tml_agent_step(tml_agent_t *agent, uint32_t now_ms);

/* Ends the session so that the broker does not send the will. */
void tml_agent_stop(tml_agent_t *agent);

#endif
