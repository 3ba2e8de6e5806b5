/* Times and memory, by the rules of runtimes/timing.py, memory.py and watch.py. */
#define _GNU_SOURCE
#include <glob.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

static const int64_t WARMUP_WINDOW_NS = 50000000, WARMUP_LIMIT_NS = 5000000000;
static const int64_t WATCH_INTERVAL_NS = 1000000000;
enum { WARMUP_WINDOW_RUNS = 3, MAX_RUNS = 100000, MAX_WATCHED = 600 };
static const double WARMUP_TOLERANCE = 0.03;

typedef struct {
    int64_t at_ns;
    double khz, millidegrees; /* below 0: unknown */
} Look;

static int64_t samples[MAX_RUNS];
static Look looks[MAX_WATCHED];
static int look_count;
static glob_t clocks, temperatures;

int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

static int64_t kib_of(const char *path, const char *key) {
    char line[256];
    long kib = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)) && sscanf(line + strlen(key), "%ld", &kib) == 1) break;
    fclose(file);
    return (int64_t)kib * 1024;
}

Memory read_memory(void) {
    return (Memory){kib_of("/proc/self/status", "VmRSS:"), kib_of("/proc/self/status", "VmHWM:")};
}

int64_t read_pss(void) { return kib_of("/proc/self/smaps_rollup", "Pss:"); }

static double highest(const glob_t *paths) {
    double most = -1, value;
    for (size_t i = 0; i < paths->gl_pathc; i++) {
        FILE *file = fopen(paths->gl_pathv[i], "r");
        if (!file) continue;
        if (fscanf(file, "%lf", &value) == 1 && value > most) most = value;
        fclose(file);
    }
    return most;
}

static void find_what_to_watch(const cpu_set_t *allowed) {
    int flags = 0;
    char path[96];
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpu);
        glob(path, flags, NULL, &clocks);
        flags = GLOB_APPEND;
    }
    glob("/sys/class/thermal/thermal_zone*/temp", 0, NULL, &temperatures);
}

static void look(int64_t at_ns) {
    if (look_count == MAX_WATCHED || !(clocks.gl_pathc || temperatures.gl_pathc)) return;
    looks[look_count++] = (Look){at_ns, highest(&clocks), highest(&temperatures)};
}

/* Runs until both are over; gives the runs, whose times are in `samples`. */
static int window(const Model *model, int64_t duration_ns, int min_runs, bool watch) {
    int count = 0;
    int64_t begin = now_ns(), end = begin + duration_ns, next_look = begin;
    for (;;) {
        int64_t start = now_ns();
        model->invoke();
        int64_t now = now_ns();
        samples[count++] = now - start;
        bool enough = count >= min_runs || count == MAX_RUNS;
        if (enough && (now >= end || count == MAX_RUNS)) return count;
        if (watch && now >= next_look) {
            look(now - begin);
            next_look = now + WATCH_INTERVAL_NS;
        }
    }
}

static int by_size(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static double median_of(int count) {
    qsort(samples, (size_t)count, sizeof *samples, by_size);
    return count % 2 ? samples[count / 2]
                     : (samples[count / 2 - 1] + samples[count / 2]) / 2.0;
}

/* Windows until two medians in a row agree. */
static bool warm_up(const Model *model, int *runs) {
    double previous = 0;
    int64_t deadline = now_ns() + WARMUP_LIMIT_NS;
    while (now_ns() < deadline) {
        int count = window(model, WARMUP_WINDOW_NS, WARMUP_WINDOW_RUNS, false);
        *runs += count;
        double median = median_of(count);
        double change = median > previous ? median - previous : previous - median;
        if (previous > 0 && change <= WARMUP_TOLERANCE * previous) return true;
        previous = median;
    }
    return false;
}

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void print_known(const char *key, double value, double divisor) {
    if (value < 0) printf(", \"%s\": null", key);
    else printf(", \"%s\": %.3f", key, value / divisor);
}

static void print_lists(int count, const cpu_set_t *allowed) {
    printf(", \"samples_ms\": [");
    for (int i = 0; i < count; i++) printf("%s%.6f", i ? ", " : "", samples[i] / 1e6);
    printf("], \"cpus\": [");
    bool first = true;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed)) continue;
        printf("%s%d", first ? "" : ", ", cpu);
        first = false;
    }
    printf("], \"watched\": [");
    for (int i = 0; i < look_count; i++) {
        printf("%s{\"at_s\": %.3f", i ? ", " : "", looks[i].at_ns / 1e9);
        print_known("frequency_mhz", looks[i].khz, 1000);
        print_known("temperature_c", looks[i].millidegrees, 1000);
        printf("}");
    }
    printf("], ");
}

void bench(const Model *model, int64_t load_ns, double seconds, int min_runs) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    find_what_to_watch(&allowed);
    reset_peak();
    int64_t start = now_ns();
    model->invoke();
    int64_t first_ns = now_ns() - start;
    int warmup_runs = 0;
    bool settled = warm_up(model, &warmup_runs);
    double cpu_start = cpu_seconds();
    int64_t window_start = now_ns();
    int count = window(model, (int64_t)(seconds * 1e9), min_runs, true);
    double window_s = (now_ns() - window_start) / 1e9, cpu_s = cpu_seconds() - cpu_start;
    Memory inference = read_memory();

    print_head("bench");
    printf("\"runtime\": \"%s\", \"runtime_version\": ", model->runtime);
    print_string(model->version);
    printf(", \"delegate\": \"%s\", \"load_ms\": %.6f, \"first_ms\": %.6f", model->delegate,
           load_ns / 1e6, first_ns / 1e6);
    printf(", \"warmup_runs\": %d, \"settled\": %s, \"cpu_s\": %.6f, \"window_s\": %.6f",
           warmup_runs, settled ? "true" : "false", cpu_s, window_s);
    printf(", \"memory_before_bytes\": %lld, \"memory_loaded_bytes\": %lld",
           (long long)before_load.resident_bytes, (long long)after_load.resident_bytes);
    printf(", \"peak_load_bytes\": %lld, \"peak_inference_bytes\": %lld, \"pss_bytes\": ",
           (long long)after_load.peak_bytes, (long long)inference.peak_bytes);
    if (pss_loaded) printf("%lld", (long long)pss_loaded);
    else printf("null");
    print_lists(count, &allowed);
    print_tensors("inputs", model->inputs, model->input_count);
    printf(", ");
    print_tensors("outputs", model->outputs, model->output_count);
    printf("}}\n");
}
