/* The native runner: measures and runs one model file on a device without Python.
 *
 * It answers one JSON document on stdout, as `python -m runtimes` does (runtimes/report.py), and
 * loads its interpreters with dlopen: a device needs only those whose files it runs.
 */
#ifndef EDGEWRIGHT_RUNNER_H
#define EDGEWRIGHT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCHEMA_VERSION = 1, MAX_TENSORS = 16, MAX_DIMENSIONS = 8 };

/* One input or output. Dimensions below 0 are dynamic; `bytes` is for the batch as loaded. */
typedef struct {
    const char *name;
    const char *dtype; /* numpy's name */
    int64_t shape[MAX_DIMENSIONS];
    size_t dimensions;
    float scale; /* 0: not quantized, or the runtime does not tell */
    int32_t zero_point;
    size_t bytes;
} Tensor;

/* One loaded model. Data pointers stay valid until the next `invoke`, inputs' until the end. */
typedef struct {
    const char *runtime;
    const char *version;
    const char *delegate;
    Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    size_t input_count, output_count;
    void (*invoke)(void);
    void *(*input_data)(size_t index);
    const void *(*output_data)(size_t index);
} Model;

void load_tflite(Model *model, const char *path, int threads);
void load_ort(Model *model, const char *path, int threads);
/* The version of an interpreter's library, or NULL and why not. */
const char *tflite_version(const char **problem);
const char *ort_version(const char **problem);

void bench(const Model *model, int64_t load_ns, double seconds, int min_runs);
typedef struct {
    int64_t resident_bytes, peak_bytes; /* 0: unknown */
} Memory;
int64_t now_ns(void);
void reset_peak(void);
Memory read_memory(void);
int64_t read_pss(void);
extern Memory before_load, after_load;
extern int64_t pss_loaded;

/* Ends the program with an error document: what was expected, found, and to do. */
_Noreturn void fail(const char *type, const char *problem, const char *found, const char *remedy);
void print_string(const char *text);
void print_head(const char *action);
void print_tensors(const char *key, const Tensor *tensors, size_t count);
/* A library on the loader's path; NULL if there is none. */
void *open_library(const char *name);
void *symbol(void *library, const char *name);

#endif
