/* Reads the arguments:
 *   runner info
 *   runner bench MODEL THREADS SECONDS MIN_RUNS SEED
 *   runner describe MODEL THREADS
 *   runner run MODEL THREADS COUNT INPUT... OUTPUT...
 * INPUT and OUTPUT are files of COUNT batches, raw and in the model's own types, one for each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "runner.h"

Memory before_load, after_load;
int64_t pss_loaded;

void print_string(const char *text) {
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') printf("\\%c", *c);
        else if (*c < 0x20) printf("\\u%04x", *c);
        else putchar(*c);
    }
    putchar('"');
}

void print_head(const char *action) {
    printf("{\"schema_version\": %d, \"ok\": true, \"action\": \"%s\", \"report\": {", SCHEMA_VERSION,
           action);
}

_Noreturn void fail(const char *type, const char *problem, const char *found, const char *remedy) {
    const char *fields[][2] = {{"type", type}, {"message", problem}, {"problem", problem},
                               {"expected", ""}, {"found", found}, {"remedy", remedy}};
    printf("{\"schema_version\": %d, \"ok\": false, \"error\": {", SCHEMA_VERSION);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        print_string(fields[i][0]);
        printf(": ");
        print_string(fields[i][1]);
        printf(", ");
    }
    printf("\"exit_code\": 2}}\n");
    exit(2);
}

void print_tensors(const char *key, const Tensor *tensors, size_t count) {
    printf("\"%s\": [", key);
    for (size_t i = 0; i < count; i++) {
        const Tensor *tensor = &tensors[i];
        printf("%s{\"name\": ", i ? ", " : "");
        print_string(tensor->name);
        printf(", \"dtype\": \"%s\", \"shape\": [", tensor->dtype);
        for (size_t d = 0; d < tensor->dimensions; d++) {
            printf(d ? ", " : "");
            if (tensor->shape[d] < 0) printf("null");
            else printf("%lld", (long long)tensor->shape[d]);
        }
        if (tensor->scale != 0)
            printf("], \"scale\": %.9g, \"zero_point\": %d}", tensor->scale, tensor->zero_point);
        else printf("], \"scale\": null, \"zero_point\": null}");
    }
    printf("]");
}

void *open_library(const char *name) { return dlopen(name, RTLD_NOW | RTLD_LOCAL); }

void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found)
        fail("MissingRuntimeError", "the interpreter's library is of another version", dlerror(),
             "build the runner again: edgewright devices build-runner");
    return found;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && !strcasecmp(text + length - size, end);
}

static void load(Model *model, const char *path, int threads) {
    if (access(path, R_OK)) fail("ModelError", "the model file cannot be read", strerror(errno), "");
    if (ends_with(path, ".tflite")) load_tflite(model, path, threads);
    else if (ends_with(path, ".onnx") || ends_with(path, ".ort")) load_ort(model, path, threads);
    else fail("ModelError", "no file for the native runner", path, "give .tflite, .onnx or .ort");
}

static long number(const char *text, long least) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < least) fail("EdgewrightError", "a number does not fit", text, "");
    return value;
}

/* Any integers of 8 bits, or floats in [0, 1): a linear congruential generator (Numerical Recipes). */
static void fill(const Model *model, uint32_t seed) {
    for (size_t i = 0; i < model->input_count; i++) {
        uint8_t *data = model->input_data(i);
        bool real = !strcmp(model->inputs[i].dtype, "float32");
        for (size_t at = 0; at < model->inputs[i].bytes; at += real ? sizeof(float) : 1) {
            seed = seed * 1664525u + 1013904223u;
            float value = (float)(seed >> 8) / 16777216.0f;
            if (real) memcpy(data + at, &value, sizeof value);
            else data[at] = (uint8_t)(seed >> 24);
        }
    }
}

static void describe(const Model *model) {
    print_head("describe");
    printf("\"runtime\": \"%s\", \"runtime_version\": ", model->runtime);
    print_string(model->version);
    printf(", \"delegate\": \"%s\", ", model->delegate);
    print_tensors("inputs", model->inputs, model->input_count);
    printf(", ");
    print_tensors("outputs", model->outputs, model->output_count);
    printf("}}\n");
}

static FILE *open_file(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) fail("EdgewrightError", "a file of arrays cannot be opened", path, strerror(errno));
    return file;
}

static void run(const Model *model, long count, char **files, int given) {
    if ((size_t)given != model->input_count + model->output_count)
        fail("EdgewrightError", "the files do not fit the model's inputs and outputs", "", "");
    FILE *in[MAX_TENSORS], *out[MAX_TENSORS];
    for (size_t i = 0; i < model->input_count; i++) in[i] = open_file(files[i], "rb");
    for (size_t i = 0; i < model->output_count; i++)
        out[i] = open_file(files[model->input_count + i], "wb");
    for (long done = 0; done < count; done++) {
        for (size_t i = 0; i < model->input_count; i++)
            if (fread(model->input_data(i), 1, model->inputs[i].bytes, in[i]) != model->inputs[i].bytes)
                fail("ModelError", "the input arrays do not fit the model", "too few bytes", "");
        model->invoke();
        for (size_t i = 0; i < model->output_count; i++)
            if (fwrite(model->output_data(i), 1, model->outputs[i].bytes, out[i]) != model->outputs[i].bytes)
                fail("EdgewrightError", "the outputs cannot be written", strerror(errno), "");
    }
    for (size_t i = 0; i < model->output_count; i++)
        if (fclose(out[i])) fail("EdgewrightError", "the outputs cannot be written", strerror(errno), "");
    describe(model);
}

static void print_interpreter(const char *name, const char *version, const char *problem) {
    printf("{\"name\": \"%s\", \"version\": ", name);
    if (version) print_string(version);
    else printf("null");
    printf(", \"problem\": ");
    print_string(version ? "" : problem);
    printf("}");
}

static void info(void) {
    struct utsname names;
    uname(&names);
    const char *problem = "";
    print_head("info");
    printf("\"python\": \"\", \"numpy\": \"\", \"machine\": ");
    print_string(names.machine);
    printf(", \"os\": \"%s %s\", \"cores\": %ld, \"interpreters\": [", names.sysname, names.release,
           sysconf(_SC_NPROCESSORS_ONLN));
    const char *version = tflite_version(&problem);
    print_interpreter("litert", version, problem);
    printf(", ");
    version = ort_version(&problem);
    print_interpreter("onnxruntime", version, problem);
    printf("]}}\n");
}

int main(int count, char **words) {
    const char *action = count > 1 ? words[1] : "";
    if (!strcmp(action, "info") && count == 2) return info(), 0;
    bool benching = !strcmp(action, "bench") && count == 7;
    bool describing = !strcmp(action, "describe") && count == 4;
    bool running = !strcmp(action, "run") && count > 5;
    if (!benching && !describing && !running)
        fail("EdgewrightError", "the request names no action", action, "info, bench, describe, run");

    static Model model;
    const char *problem = "";
    /* The library comes first, as an import does: loading a model is what is measured. */
    ends_with(words[2], ".tflite") ? tflite_version(&problem) : ort_version(&problem);
    reset_peak();
    before_load = read_memory();
    int64_t start = now_ns();
    load(&model, words[2], (int)number(words[3], 1));
    int64_t load_ns = now_ns() - start;
    after_load = read_memory();
    pss_loaded = read_pss();
    if (describing) describe(&model);
    if (running) run(&model, number(words[4], 1), words + 5, count - 5);
    if (benching) {
        fill(&model, (uint32_t)number(words[6], 0));
        bench(&model, load_ns, strtod(words[4], NULL), (int)number(words[5], 1));
    }
    return 0;
}
