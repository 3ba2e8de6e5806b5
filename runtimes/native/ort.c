/* .onnx and .ort files, over ONNX Runtime's C API.
 *
 * OrtApi is a struct of function pointers that only ever grows at its end (its own promise, in
 * onnxruntime_c_api.h): a function's place in it is its address for all versions, so that the
 * runner needs no header. The places below are counted from that header.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

static const char LIBRARY[] = "libonnxruntime.so.1";
enum { API_VERSION = 17, LOG_ERROR = 3, ARENA_ALLOCATOR = 1, MEMORY_DEFAULT = 0 };
enum {
    GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10,
    SET_INTRA_OP_THREADS = 24, INPUT_COUNT = 30, OUTPUT_COUNT = 31, INPUT_TYPE = 33,
    OUTPUT_TYPE = 34, INPUT_NAME = 36, OUTPUT_NAME = 37, CREATE_TENSOR_WITH_DATA = 49,
    TENSOR_DATA = 51, CAST_TYPE = 55, ELEMENT_TYPE = 60, DIMENSION_COUNT = 61, DIMENSIONS = 62,
    ELEMENT_COUNT = 64, TENSOR_SHAPE = 65, CREATE_CPU_MEMORY = 69, DEFAULT_ALLOCATOR = 78,
    RELEASE_VALUE = 96, RELEASE_SHAPE = 99
};

typedef struct {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} ApiBase;
typedef void *(*Function)(); /* gives an OrtStatus: NULL is good */

static void *library;
static const ApiBase *base;
static const Function *api;
static void *session, *values[MAX_TENSORS], *results[MAX_TENSORS], *buffers[MAX_TENSORS];
static const char *input_names[MAX_TENSORS], *output_names[MAX_TENSORS];
static size_t input_count, output_count;
static Tensor *output_tensors;

static bool open_it(void) {
    if (!library) library = open_library(LIBRARY);
    if (library && !base) {
        const ApiBase *(*get_base)(void) = symbol(library, "OrtGetApiBase");
        base = get_base();
    }
    return library;
}

const char *ort_version(const char **problem) {
    if (!open_it()) return *problem = dlerror(), NULL;
    return base->get_version();
}

static void check(void *status) {
    if (!status) return;
    const char *(*message)(const void *) = (const char *(*)(const void *))api[GET_ERROR_MESSAGE];
    fail("ModelError", "onnxruntime refuses the file, or to run it", message(status), "");
}

/* ONNXTensorElementDataType: the numbers of onnx.proto's TensorProto.DataType. */
static const char *dtype_of(int type, size_t *size) {
    switch (type) {
        case 1: return *size = 4, "float32";
        case 2: return *size = 1, "uint8";
        case 3: return *size = 1, "int8";
        case 5: return *size = 2, "int16";
        case 6: return *size = 4, "int32";
        case 7: return *size = 8, "int64";
        case 10: return *size = 2, "float16";
        default: fail("ModelError", "a tensor is of a type that an image model does not have", "", "");
    }
}

static Tensor tensor_of(size_t index, int get_name, int get_type) {
    void *allocator, *info;
    const void *shape;
    char *name;
    int type;
    size_t size;
    Tensor made = {0};
    check(api[DEFAULT_ALLOCATOR](&allocator));
    check(api[get_name](session, index, allocator, &name));
    check(api[get_type](session, index, &info));
    check(api[CAST_TYPE](info, &shape));
    check(api[ELEMENT_TYPE](shape, &type));
    check(api[DIMENSION_COUNT](shape, &made.dimensions));
    if (made.dimensions > MAX_DIMENSIONS) fail("ModelError", "too many dimensions", name, "");
    check(api[DIMENSIONS](shape, made.shape, made.dimensions));
    made.name = name;
    made.dtype = dtype_of(type, &size);
    made.bytes = size;
    for (size_t d = 0; d < made.dimensions; d++) {
        if (made.shape[d] < 0 && d > 0 && get_type == INPUT_TYPE)
            fail("ModelError", "an input has a dynamic dimension beside the batch", name,
                 "export the model with static shapes");
        made.bytes *= made.shape[d] < 0 ? 1 : (size_t)made.shape[d]; /* a dynamic batch is 1 */
    }
    return made;
}

static void make_input(size_t index, const Tensor *tensor, int type) {
    void *memory;
    int64_t shape[MAX_DIMENSIONS];
    for (size_t d = 0; d < tensor->dimensions; d++)
        shape[d] = tensor->shape[d] < 0 ? 1 : tensor->shape[d];
    buffers[index] = calloc(1, tensor->bytes);
    check(api[CREATE_CPU_MEMORY](ARENA_ALLOCATOR, MEMORY_DEFAULT, &memory));
    check(api[CREATE_TENSOR_WITH_DATA](memory, buffers[index], tensor->bytes, shape,
                                       tensor->dimensions, type, &values[index]));
}

static void invoke(void) {
    for (size_t i = 0; i < output_count; i++) {
        if (results[i]) api[RELEASE_VALUE](results[i]);
        results[i] = NULL;
    }
    check(api[RUN](session, NULL, input_names, (const void *const *)values, input_count,
                   output_names, output_count, results));
}

static void *input_data(size_t index) { return buffers[index]; }

static const void *output_data(size_t index) {
    void *data, *shape;
    size_t elements, size = output_tensors[index].bytes;
    check(api[TENSOR_SHAPE](results[index], &shape));
    check(api[ELEMENT_COUNT](shape, &elements));
    api[RELEASE_SHAPE](shape);
    check(api[TENSOR_DATA](results[index], &data));
    if (elements == 0 || size % elements)
        fail("ModelError", "an output's size is not what the file declares",
             output_tensors[index].name, "");
    return data;
}

static int type_of(const char *dtype) {
    static const char *names[] = {"float32", "uint8", "int8"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(names[i], dtype)) return i + 1;
    fail("ModelError", "an input is of a type that an image model does not have", dtype, "");
}

void load_ort(Model *model, const char *path, int threads) {
    void *environment, *options;
    if (!open_it())
        fail("MissingRuntimeError", "no interpreter for .onnx and .ort files lies beside the runner",
             dlerror(), "build the runner again: edgewright devices build-runner");
    api = base->get_api(API_VERSION);
    if (!api) fail("MissingRuntimeError", "ONNX Runtime is too old", base->get_version(), "");
    check(api[CREATE_ENV](LOG_ERROR, "edgewright", &environment));
    check(api[CREATE_SESSION_OPTIONS](&options));
    check(api[SET_INTRA_OP_THREADS](options, threads));
    check(api[CREATE_SESSION](environment, path, options, &session));
    check(api[INPUT_COUNT](session, &input_count));
    check(api[OUTPUT_COUNT](session, &output_count));
    if (input_count > MAX_TENSORS || output_count > MAX_TENSORS)
        fail("ModelError", "too many inputs or outputs", "", "");
    for (size_t i = 0; i < input_count; i++) {
        model->inputs[i] = tensor_of(i, INPUT_NAME, INPUT_TYPE);
        input_names[i] = model->inputs[i].name;
        make_input(i, &model->inputs[i], type_of(model->inputs[i].dtype));
    }
    for (size_t i = 0; i < output_count; i++) {
        model->outputs[i] = tensor_of(i, OUTPUT_NAME, OUTPUT_TYPE);
        output_names[i] = model->outputs[i].name;
    }
    output_tensors = model->outputs;
    model->input_count = input_count;
    model->output_count = output_count;
    model->runtime = "onnxruntime";
    model->version = base->get_version();
    model->delegate = "none";
    model->invoke = invoke;
    model->input_data = input_data;
    model->output_data = output_data;
}
