#include <pthread.h>
#include "_cgo_export.h"

__attribute__((noinline)) void call_go(int depth) { waitInGo(depth); }

static void *in_a_thread(void *unused) {
	waitInGoOnAForeignThread();
	return unused;
}

void thread_calls_go(void) {
	pthread_t thread;
	if (pthread_create(&thread, NULL, in_a_thread, NULL) == 0) pthread_detach(thread);
}
