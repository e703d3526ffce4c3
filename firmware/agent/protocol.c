/* SPDX-License-Identifier: Apache-2.0
 *
 * Generated from protocol.cddl by `python -m fleet.wire.generate`.
 */

/* clang-format off */
#include "protocol.h"

#include <stddef.h>

static const tml_field_t model_info_fields[] = {
    {1, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_model_info_t, digest)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_model_info_t, sequence)},
    {3, TML_KIND_ENUM, 0, 0, 5, offsetof(tml_model_info_t, state)},
    {4, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_model_info_t, offset)},
};

static const tml_field_t learning_info_fields[] = {
    {1, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_learning_info_t, abi)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_learning_info_t, parameters)},
    {3, TML_KIND_BOOL | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_learning_info_t, clips)},
};

static const tml_field_t hello_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, seq)},
    {3, TML_KIND_UINT8, 0, 0, 0, offsetof(tml_hello_t, protocol)},
    {4, TML_KIND_TEXT, 0, 1, 32, offsetof(tml_hello_t, vendor)},
    {5, TML_KIND_TEXT, 0, 1, 32, offsetof(tml_hello_t, hardware)},
    {6, TML_KIND_TEXT, 0, 1, 32, offsetof(tml_hello_t, firmware)},
    {7, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_hello_t, abi)},
    {8, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_hello_t, opset)},
    {9, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, arena_bytes)},
    {10, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, slot_bytes)},
    {11, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, packet_bytes)},
    {12, TML_KIND_MESSAGE, 0, 0, 0, offsetof(tml_hello_t, model)},
    {13, TML_KIND_MESSAGE | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_hello_t, passive)},
    {14, TML_KIND_BOOL, 0, 0, 0, offsetof(tml_hello_t, can_rollback)},
    {15, TML_KIND_ENUM, 0, 0, 3, offsetof(tml_hello_t, reset_reason)},
    {16, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, resets)},
    {17, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_hello_t, twin_version)},
    {18, TML_KIND_TEXT | TML_KIND_OPTIONAL, 8, 1, 32, offsetof(tml_hello_t, sensors)},
    {19, TML_KIND_MESSAGE | TML_KIND_OPTIONAL, 0, 1, 0, offsetof(tml_hello_t, learning)},
};

static const tml_field_t presence_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_presence_t, boot_id)},
    {2, TML_KIND_BOOL, 0, 0, 0, offsetof(tml_presence_t, online)},
};

static const tml_field_t twin_reported_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_twin_reported_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_twin_reported_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_twin_reported_t, version)},
    {4, TML_KIND_ENUM, 0, 0, 45, offsetof(tml_twin_reported_t, reason)},
    {5, TML_KIND_MESSAGE, 0, 0, 0, offsetof(tml_twin_reported_t, model)},
    {6, TML_KIND_MESSAGE | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_twin_reported_t, passive)},
    {7, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_twin_reported_t, report_interval_s)},
    {8, TML_KIND_PROPERTIES | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_twin_reported_t, properties)},
};

static const tml_field_t job_status_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_job_status_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_job_status_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_job_status_t, job)},
    {4, TML_KIND_ENUM, 0, 0, 9, offsetof(tml_job_status_t, state)},
    {5, TML_KIND_ENUM, 0, 0, 45, offsetof(tml_job_status_t, reason)},
    {6, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_status_t, sequence)},
    {7, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_status_t, offset)},
    {8, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_status_t, latency_us)},
};

static const tml_field_t blob_request_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_blob_request_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_blob_request_t, seq)},
    {3, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_blob_request_t, digest)},
    {4, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_blob_request_t, offset)},
    {5, TML_KIND_UINT16, 0, 0, 0, offsetof(tml_blob_request_t, size)},
    {6, TML_KIND_UINT8, 0, 0, 0, offsetof(tml_blob_request_t, count)},
};

static const tml_field_t report_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_report_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_report_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_report_t, uptime_s)},
    {4, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_report_t, model_sequence)},
    {5, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_report_t, inferences)},
    {6, TML_KIND_UINT16 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_report_t, best)},
    {7, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_report_t, score)},
    {8, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 0, 256, offsetof(tml_report_t, outputs)},
    {9, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_report_t, latency_us)},
    {10, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_report_t, stack_bytes)},
    {11, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_report_t, dropped)},
    {12, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 16, 0, 0, offsetof(tml_report_t, values)},
    {13, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 16, 0, 0, offsetof(tml_report_t, histogram)},
};

static const tml_field_t log_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_log_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_log_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_log_t, uptime_s)},
    {4, TML_KIND_ENUM, 0, 0, 3, offsetof(tml_log_t, severity)},
    {5, TML_KIND_TEXT, 0, 0, 120, offsetof(tml_log_t, text)},
};

static const tml_field_t rpc_reply_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_rpc_reply_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_rpc_reply_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_rpc_reply_t, call)},
    {4, TML_KIND_ENUM, 0, 0, 45, offsetof(tml_rpc_reply_t, reason)},
};

static const tml_field_t train_reply_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_reply_t, boot_id)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_reply_t, seq)},
    {3, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_reply_t, job)},
    {4, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_reply_t, round)},
    {5, TML_KIND_ENUM, 0, 0, 45, offsetof(tml_train_reply_t, reason)},
    {6, TML_KIND_ENUM, 0, 0, 4, offsetof(tml_train_reply_t, kind)},
    {7, TML_KIND_ENUM | TML_KIND_OPTIONAL, 0, 0, 2, offsetof(tml_train_reply_t, dtype)},
    {8, TML_KIND_ENUM | TML_KIND_OPTIONAL, 0, 0, 4, offsetof(tml_train_reply_t, coding)},
    {9, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, total)},
    {10, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, crc)},
    {11, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, offset)},
    {12, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 0, 65000, offsetof(tml_train_reply_t, data)},
    {13, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, num_examples)},
    {14, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, loss)},
    {15, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, accuracy)},
    {16, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, train_us)},
    {17, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_reply_t, clipped)},
};

static const tml_field_t model_target_fields[] = {
    {1, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_model_target_t, digest)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_model_target_t, sequence)},
};

static const tml_field_t twin_desired_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_twin_desired_t, version)},
    {2, TML_KIND_MESSAGE | TML_KIND_OPTIONAL, 0, 11, 0, offsetof(tml_twin_desired_t, model)},
    {3, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_twin_desired_t, report_interval_s)},
    {4, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_twin_desired_t, time_s)},
    {5, TML_KIND_PROPERTIES | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_twin_desired_t, properties)},
};

static const tml_field_t job_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_job_t, job)},
    {2, TML_KIND_ENUM, 0, 0, 3, offsetof(tml_job_t, action)},
    {3, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 1, 1024, offsetof(tml_job_t, manifest)},
    {4, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 1, 512, offsetof(tml_job_t, grant)},
    {5, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 32, 32, offsetof(tml_job_t, digest)},
    {6, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_t, soak_s)},
    {7, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_t, jitter_s)},
    {8, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_t, deadline_s)},
    {9, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_job_t, time_s)},
};

static const tml_field_t blob_reply_fields[] = {
    {1, TML_KIND_BYTES, 0, 8, 8, offsetof(tml_blob_reply_t, blob)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_blob_reply_t, offset)},
    {3, TML_KIND_ENUM, 0, 0, 45, offsetof(tml_blob_reply_t, reason)},
    {4, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 0, 65000, offsetof(tml_blob_reply_t, data)},
};

static const tml_field_t rpc_request_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_rpc_request_t, call)},
    {2, TML_KIND_ENUM, 0, 0, 4, offsetof(tml_rpc_request_t, command)},
};

static const tml_field_t train_job_fields[] = {
    {1, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_job_t, job)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_job_t, round)},
    {3, TML_KIND_ENUM, 0, 0, 3, offsetof(tml_train_job_t, phase)},
    {4, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_train_job_t, abi)},
    {5, TML_KIND_ENUM, 0, 0, 2, offsetof(tml_train_job_t, dtype)},
    {6, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_train_job_t, digest)},
    {7, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_job_t, size)},
    {8, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 0, 65000, offsetof(tml_train_job_t, data)},
    {9, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 32, 32, offsetof(tml_train_job_t, mask_digest)},
    {10, TML_KIND_BYTES | TML_KIND_OPTIONAL, 0, 0, 65000, offsetof(tml_train_job_t, mask)},
    {11, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_train_job_t, steps)},
    {12, TML_KIND_FLOAT, 0, 0, 0, offsetof(tml_train_job_t, lr)},
    {13, TML_KIND_UINT16 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, batch)},
    {14, TML_KIND_ENUM | TML_KIND_OPTIONAL, 0, 0, 4, offsetof(tml_train_job_t, answer)},
    {15, TML_KIND_ENUM | TML_KIND_OPTIONAL, 0, 0, 2, offsetof(tml_train_job_t, answer_dtype)},
    {16, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, top)},
    {17, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, proximal)},
    {18, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, clip_norm)},
    {19, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, global_parameters)},
    {20, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, local_steps)},
    {21, TML_KIND_FLOAT | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, local_lr)},
    {22, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, block_first)},
    {23, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, block_count)},
    {24, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, top_gradients)},
    {25, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, seed)},
    {26, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_train_job_t, deadline_s)},
};

static const tml_field_t manifest_fields[] = {
    {1, TML_KIND_UINT8, 0, 0, 0, offsetof(tml_manifest_t, version)},
    {2, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_manifest_t, sequence)},
    {3, TML_KIND_TEXT, 0, 1, 32, offsetof(tml_manifest_t, vendor)},
    {4, TML_KIND_TEXT, 8, 1, 32, offsetof(tml_manifest_t, classes)},
    {5, TML_KIND_TEXT | TML_KIND_OPTIONAL, 0, 1, 32, offsetof(tml_manifest_t, device)},
    {6, TML_KIND_ENUM, 0, 0, 1, offsetof(tml_manifest_t, component)},
    {7, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_manifest_t, digest)},
    {8, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_manifest_t, size)},
    {9, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_manifest_t, abi)},
    {10, TML_KIND_UINT64, 0, 0, 0, offsetof(tml_manifest_t, opset)},
    {11, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_manifest_t, arena_bytes)},
    {12, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_manifest_t, weights_bytes)},
    {13, TML_KIND_UINT16, 0, 0, 0, offsetof(tml_manifest_t, golden_inputs)},
    {14, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_manifest_t, golden_outputs)},
    {15, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_manifest_t, expires_s)},
    {16, TML_KIND_TEXT | TML_KIND_OPTIONAL, 0, 1, 64, offsetof(tml_manifest_t, name)},
    {17, TML_KIND_TEXT | TML_KIND_OPTIONAL, 0, 1, 32, offsetof(tml_manifest_t, tenant)},
};

static const tml_field_t key_grant_fields[] = {
    {1, TML_KIND_UINT8, 0, 0, 0, offsetof(tml_key_grant_t, version)},
    {2, TML_KIND_BYTES, 0, 32, 32, offsetof(tml_key_grant_t, key)},
    {3, TML_KIND_ENUM, 0, 0, 1, offsetof(tml_key_grant_t, component)},
    {4, TML_KIND_TEXT | TML_KIND_OPTIONAL, 0, 1, 32, offsetof(tml_key_grant_t, tenant)},
    {5, TML_KIND_UINT32, 0, 0, 0, offsetof(tml_key_grant_t, expires_s)},
    {6, TML_KIND_UINT32 | TML_KIND_OPTIONAL, 0, 0, 0, offsetof(tml_key_grant_t, first_sequence)},
};

const tml_message_t tml_messages[] = {
    {model_info_fields, sizeof(tml_model_info_t), 4},
    {learning_info_fields, sizeof(tml_learning_info_t), 3},
    {hello_fields, sizeof(tml_hello_t), 19},
    {presence_fields, sizeof(tml_presence_t), 2},
    {twin_reported_fields, sizeof(tml_twin_reported_t), 8},
    {job_status_fields, sizeof(tml_job_status_t), 8},
    {blob_request_fields, sizeof(tml_blob_request_t), 6},
    {report_fields, sizeof(tml_report_t), 13},
    {log_fields, sizeof(tml_log_t), 5},
    {rpc_reply_fields, sizeof(tml_rpc_reply_t), 4},
    {train_reply_fields, sizeof(tml_train_reply_t), 17},
    {model_target_fields, sizeof(tml_model_target_t), 2},
    {twin_desired_fields, sizeof(tml_twin_desired_t), 5},
    {job_fields, sizeof(tml_job_t), 9},
    {blob_reply_fields, sizeof(tml_blob_reply_t), 4},
    {rpc_request_fields, sizeof(tml_rpc_request_t), 2},
    {train_job_fields, sizeof(tml_train_job_t), 26},
    {manifest_fields, sizeof(tml_manifest_t), 17},
    {key_grant_fields, sizeof(tml_key_grant_t), 6},
};
