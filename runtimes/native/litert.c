/* TFLite files, over LiteRT's C API (litert/c of its sources), whose functions are looked up by
 * name. XNNPACK is the library's default. The API changes between versions: the build takes one
 * alone and gives it as LITERT_VERSION. On x86-64; tflite.c has the same functions elsewhere.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

static const char LIBRARY[] = "libLiteRt.so";
enum { OK = 0, ON_CPU = 1, MAX_RANK = 8, ALIGNMENT = 64 };

typedef void *Handle;
typedef struct {
    int element;
    unsigned rank : 7, has_strides : 1;
    int32_t dimensions[MAX_RANK];
    uint32_t strides[MAX_RANK];
} TensorType; /* LiteRtRankedTensorType */

typedef struct {
    float scale;
    int64_t zero_point;
} Quantization; /* LiteRtQuantizationPerTensor */

/* The model's inputs or outputs. A signature may name them in another order than the graph has
 * them: `slots` gives the place in the signature, in whose order LiteRT takes `buffers`. */
typedef struct {
    size_t count, slots[MAX_TENSORS];
    Handle buffers[MAX_TENSORS];
    void *data[MAX_TENSORS]; /* in the graph's order */
} Side;

static Handle library, compiled;
static Side inputs, outputs;
static int (*run_)(Handle, size_t, size_t, Handle *, size_t, Handle *);

static bool open_it(void) {
    if (!library) library = open_library(LIBRARY);
    return library;
}

const char *tflite_version(const char **problem) {
    if (!open_it()) return *problem = dlerror(), NULL;
    return LITERT_VERSION;
}

static void must(int status, const char *step) {
    if (status != OK) fail("ModelError", "litert refuses the file", step, "");
}

typedef struct {
    const char *name;
    size_t bytes;
} Element;

/* LiteRtElementType of litert/c/litert_model_types.h. */
static Element element_of(int type) {
    switch (type) {
        case 1: return (Element){"float32", 4};
        case 2: return (Element){"int32", 4};
        case 3: return (Element){"uint8", 1};
        case 4: return (Element){"int64", 8};
        case 7: return (Element){"int16", 2};
        case 9: return (Element){"int8", 1};
        case 10: return (Element){"float16", 2};
        default: fail("ModelError", "a tensor is of a type that an image model does not have", "", "");
    }
}

static Tensor tensor_of(Handle handle, TensorType *type) {
    int (*name_of)(Handle, const char **) = symbol(library, "LiteRtGetTensorName");
    int (*type_of)(Handle, TensorType *) = symbol(library, "LiteRtGetRankedTensorType");
    int (*per_tensor)(Handle, Quantization *) = symbol(library, "LiteRtGetPerTensorQuantization");
    Quantization found = {0};
    Tensor made = {.name = ""};
    must(name_of(handle, &made.name), "a tensor has no name");
    must(type_of(handle, type), "a tensor has no shape");
    Element element = element_of(type->element);
    if (per_tensor(handle, &found) == OK) {
        made.scale = found.scale;
        made.zero_point = (int32_t)found.zero_point;
    }
    made.dtype = element.name;
    made.bytes = element.bytes;
    made.dimensions = type->rank;
    for (size_t d = 0; d < made.dimensions; d++) {
        made.shape[d] = type->dimensions[d];
        if (type->dimensions[d] > 0) made.bytes *= (size_t)type->dimensions[d];
        else type->dimensions[d] = 1; /* dynamic */
    }
    return made;
}

/* The place of a graph's tensor among those of the signature. */
static size_t slot_of(Handle signature, Handle tensor, size_t count, const char *getter) {
    int (*at)(Handle, size_t, Handle *) = symbol(library, getter);
    for (size_t slot = 0; slot < count; slot++) {
        Handle found = NULL;
        if (at(signature, slot, &found) == OK && found == tensor) return slot;
    }
    fail("ModelError", "litert refuses the file", "the signature leaves a tensor of the graph out", "");
}

static void *memory_of(size_t bytes) {
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *made = aligned_alloc(ALIGNMENT, rounded);
    if (!made) fail("ModelError", "there is no memory for the model's inputs and outputs", "", "");
    return memset(made, 0, rounded);
}

typedef struct {
    const char *count, *tensor, *in_signature;
} Names; /* of the functions that tell of inputs, or of outputs */

static void open_side(Side *side, Tensor *tensors, Handle graph, Handle signature, Names names) {
    int (*count_of)(Handle, size_t *) = symbol(library, names.count);
    int (*at)(Handle, size_t, Handle *) = symbol(library, names.tensor);
    int (*wrap)(const TensorType *, void *, size_t, void (*)(void *), Handle *) =
        symbol(library, "LiteRtCreateTensorBufferFromHostMemory");
    must(count_of(graph, &side->count), "it has no inputs or outputs");
    if (side->count > MAX_TENSORS) fail("ModelError", "too many inputs or outputs", "", "");
    for (size_t i = 0; i < side->count; i++) {
        Handle tensor = NULL;
        TensorType type = {0};
        must(at(graph, i, &tensor), "a tensor is missing");
        tensors[i] = tensor_of(tensor, &type);
        side->slots[i] = slot_of(signature, tensor, side->count, names.in_signature);
        side->data[i] = memory_of(tensors[i].bytes);
        must(wrap(&type, side->data[i], tensors[i].bytes, NULL, &side->buffers[side->slots[i]]),
             "a tensor cannot be bound to memory");
    }
}

static void invoke(void) {
    if (run_(compiled, 0, inputs.count, inputs.buffers, outputs.count, outputs.buffers) != OK)
        fail("ModelError", "the model fails when it runs", "", "");
}

static void *input_data(size_t index) { return inputs.data[index]; }

static const void *output_data(size_t index) { return outputs.data[index]; }

/* What LiteRT's own C++ helper writes: TOML, under the name "xnnpack". */
static void set_threads(Handle options, int threads) {
    int (*make)(const char *, void *, void (*)(void *), Handle *) =
        symbol(library, "LiteRtCreateOpaqueOptions");
    int (*add)(Handle, Handle) = symbol(library, "LiteRtAddOpaqueOptions");
    Handle made = NULL;
    char *text = malloc(64);
    snprintf(text, 64, "num_threads = %d\n", threads);
    must(make("xnnpack", text, free, &made), "the number of threads cannot be set");
    must(add(options, made), "the number of threads cannot be set");
}

static void compile(Handle environment, Handle file, int threads) {
    int (*make_options)(Handle *) = symbol(library, "LiteRtCreateOptions");
    int (*place)(Handle, int) = symbol(library, "LiteRtSetOptionsHardwareAccelerators");
    int (*make)(Handle, Handle, Handle, Handle *) = symbol(library, "LiteRtCreateCompiledModel");
    Handle options = NULL;
    must(make_options(&options), "no options");
    must(place(options, ON_CPU), "no CPU");
    set_threads(options, threads);
    must(make(environment, file, options, &compiled), "it cannot be compiled");
}

void load_tflite(Model *model, const char *path, int threads) {
    if (!open_it())
        fail("MissingRuntimeError", "no interpreter for .tflite files lies beside the runner",
             dlerror(), "build the runner again: edgewright devices build-runner");
    int (*make)(int, const void *, Handle *) = symbol(library, "LiteRtCreateEnvironment");
    int (*open_model)(Handle, const char *, Handle *) = symbol(library, "LiteRtCreateModelFromFile");
    int (*graph_at)(Handle, size_t, Handle *) = symbol(library, "LiteRtGetModelSubgraph");
    int (*signature_at)(Handle, size_t, Handle *) = symbol(library, "LiteRtGetModelSignature");
    run_ = symbol(library, "LiteRtRunCompiledModel");

    Handle environment = NULL, file = NULL, graph = NULL, signature = NULL;
    must(make(0, NULL, &environment), "there is no environment");
    must(open_model(environment, path, &file), path);
    must(graph_at(file, 0, &graph), "it has no graph");
    must(signature_at(file, 0, &signature), "it has no signature");
    compile(environment, file, threads);
    open_side(&inputs, model->inputs, graph, signature,
              (Names){"LiteRtGetNumSubgraphInputs", "LiteRtGetSubgraphInput",
                      "LiteRtGetSignatureInputTensorByIndex"});
    open_side(&outputs, model->outputs, graph, signature,
              (Names){"LiteRtGetNumSubgraphOutputs", "LiteRtGetSubgraphOutput",
                      "LiteRtGetSignatureOutputTensorByIndex"});
    model->input_count = inputs.count;
    model->output_count = outputs.count;
    model->runtime = "litert";
    model->version = LITERT_VERSION;
    model->delegate = "unknown"; /* the C API does not tell which operators XNNPACK took */
    model->invoke = invoke;
    model->input_data = input_data;
    model->output_data = output_data;
}
