/* Embeds one log-mel by an export, with TensorFlow's C library and nothing else.

   embed DIR LOG_MEL N_FRAMES EMBEDDING T F: the three names of tensors are those of
   the signature; log_mel, float32 [1, T, F], and n_frames, int32 [1], are files here.
   Prints the embedding. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensorflow/c/c_api.h"

static TF_Status *status;

static void require(const char *what) {
  if (TF_GetCode(status) != TF_OK) {
    fprintf(stderr, "%s: %s\n", what, TF_Message(status));
    exit(1);
  }
}

static TF_Output output(TF_Graph *graph, const char *name) {
  char operation[1000];
  const char *colon = strrchr(name, ':');
  TF_Output found = {NULL, 0};
  snprintf(operation, sizeof operation, "%.*s", (int)(colon - name), name);
  found.oper = TF_GraphOperationByName(graph, operation);
  found.index = atoi(colon + 1);
  if (!found.oper) {
    fprintf(stderr, "no operation %s\n", operation);
    exit(1);
  }
  return found;
}

static TF_Tensor *read_tensor(const char *path, TF_DataType type, const int64_t *dims,
                              int n_dims, size_t n_bytes) {
  TF_Tensor *tensor = TF_AllocateTensor(type, dims, n_dims, n_bytes);
  FILE *file = fopen(path, "rb");
  if (!file || fread(TF_TensorData(tensor), 1, n_bytes, file) != n_bytes) {
    fprintf(stderr, "%s cannot be read\n", path);
    exit(1);
  }
  fclose(file);
  return tensor;
}

int main(int argc, char **argv) {
  const char *tags[] = {"serve"};
  if (argc != 7) return 2;
  int64_t dims[] = {1, atoi(argv[5]), atoi(argv[6])}, one[] = {1};
  status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  require("loading");
  TF_Output inputs[] = {output(graph, argv[2]), output(graph, argv[3])};
  TF_Output outputs[] = {output(graph, argv[4])};
  TF_Tensor *given[] = {
      read_tensor("log_mel", TF_FLOAT, dims, 3, 4 * dims[1] * dims[2]),
      read_tensor("n_frames", TF_INT32, one, 1, 4)};
  TF_Tensor *found[] = {NULL};
  TF_SessionRun(session, NULL, inputs, given, 2, outputs, found, 1, NULL, 0, NULL,
                status);
  require("running");
  const float *numbers = TF_TensorData(found[0]);
  for (int64_t i = 0; i < TF_Dim(found[0], 1); i++) printf("%.9g\n", numbers[i]);
  return 0;
}
