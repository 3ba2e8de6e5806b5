/* TFLite files, over the stable C API of TensorFlow Lite (tensorflow/lite/c/c_api.h), whose
 * functions are looked up by name. XNNPACK is the library's default. On aarch64; see litert.c.
 */
#include <dlfcn.h>
#include <stdio.h>

#include "runner.h"

static const char LIBRARY[] = "libLiteRtRuntimeCApi.so";
static const int OK = 0;

typedef struct {
    float scale;
    int32_t zero_point;
} Quantization; /* TfLiteQuantizationParams */

static void *library;
static void *interpreter;
static int (*invoke_)(void *);
static void *(*input_)(const void *, int32_t);
static const void *(*output_)(const void *, int32_t);
static void *(*data_)(const void *);

static bool open_it(void) {
    if (!library) library = open_library(LIBRARY);
    return library;
}

const char *tflite_version(const char **problem) {
    if (!open_it()) return *problem = dlerror(), NULL;
    const char *(*version)(void) = symbol(library, "TfLiteVersion");
    return version();
}

/* TfLiteType of tensorflow/lite/core/c/c_api_types.h. */
static const char *dtype_of(int type) {
    switch (type) {
        case 1: return "float32";
        case 2: return "int32";
        case 3: return "uint8";
        case 4: return "int64";
        case 7: return "int16";
        case 9: return "int8";
        case 10: return "float16";
        default: fail("ModelError", "a tensor is of a type that an image model does not have", "", "");
    }
}

static Tensor tensor_of(const void *tensor) {
    const char *(*name)(const void *) = symbol(library, "TfLiteTensorName");
    int (*type)(const void *) = symbol(library, "TfLiteTensorType");
    int32_t (*dimensions)(const void *) = symbol(library, "TfLiteTensorNumDims");
    int32_t (*dimension)(const void *, int32_t) = symbol(library, "TfLiteTensorDim");
    size_t (*bytes)(const void *) = symbol(library, "TfLiteTensorByteSize");
    Quantization (*quantization)(const void *) = symbol(library, "TfLiteTensorQuantizationParams");
    Quantization parameters = quantization(tensor);
    Tensor made = {.name = name(tensor), .dtype = dtype_of(type(tensor)),
                   .dimensions = (size_t)dimensions(tensor), .scale = parameters.scale,
                   .zero_point = parameters.zero_point, .bytes = bytes(tensor)};
    if (made.dimensions > MAX_DIMENSIONS) fail("ModelError", "too many dimensions", made.name, "");
    for (size_t d = 0; d < made.dimensions; d++) made.shape[d] = dimension(tensor, (int32_t)d);
    return made;
}

static void invoke(void) {
    if (invoke_(interpreter) != OK) fail("ModelError", "the model fails when it runs", "", "");
}

static void *input_data(size_t index) { return data_(input_(interpreter, (int32_t)index)); }

static const void *output_data(size_t index) { return data_(output_(interpreter, (int32_t)index)); }

void load_tflite(Model *model, const char *path, int threads) {
    if (!open_it())
        fail("MissingRuntimeError", "no interpreter for .tflite files lies beside the runner",
             dlerror(), "build the runner again: edgewright devices build-runner");
    void *(*open_model)(const char *) = symbol(library, "TfLiteModelCreateFromFile");
    void *(*make_options)(void) = symbol(library, "TfLiteInterpreterOptionsCreate");
    void (*set_threads)(void *, int32_t) = symbol(library, "TfLiteInterpreterOptionsSetNumThreads");
    void *(*make)(const void *, const void *) = symbol(library, "TfLiteInterpreterCreate");
    int (*allocate)(void *) = symbol(library, "TfLiteInterpreterAllocateTensors");
    int32_t (*inputs)(const void *) = symbol(library, "TfLiteInterpreterGetInputTensorCount");
    int32_t (*outputs)(const void *) = symbol(library, "TfLiteInterpreterGetOutputTensorCount");
    invoke_ = symbol(library, "TfLiteInterpreterInvoke");
    input_ = symbol(library, "TfLiteInterpreterGetInputTensor");
    output_ = symbol(library, "TfLiteInterpreterGetOutputTensor");
    data_ = symbol(library, "TfLiteTensorData");

    void *file = open_model(path), *options = make_options();
    if (!file) fail("ModelError", "litert refuses the file", path, "");
    set_threads(options, threads);
    interpreter = make(file, options);
    if (!interpreter || allocate(interpreter) != OK)
        fail("ModelError", "litert refuses the file", "it cannot be allocated", "");
    model->input_count = (size_t)inputs(interpreter);
    model->output_count = (size_t)outputs(interpreter);
    if (model->input_count > MAX_TENSORS || model->output_count > MAX_TENSORS)
        fail("ModelError", "too many inputs or outputs", "", "");
    for (size_t i = 0; i < model->input_count; i++)
        model->inputs[i] = tensor_of(input_(interpreter, (int32_t)i));
    for (size_t i = 0; i < model->output_count; i++)
        model->outputs[i] = tensor_of(output_(interpreter, (int32_t)i));
    model->runtime = "litert";
    model->version = tflite_version(&(const char *){""});
    model->delegate = "unknown"; /* the C API does not tell which operators XNNPACK took */
    model->invoke = invoke;
    model->input_data = input_data;
    model->output_data = output_data;
}
