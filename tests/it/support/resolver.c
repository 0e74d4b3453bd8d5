/* Names under .test lead to 127.0.0.1 for as long as the file NAMES is there; without it nobody knows them, as when DNS is gone.
   Loaded before the system's own resolver, which is asked about every other name. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  resolver *system = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
  size_t length = host ? strlen(host) : 0;
  if (length > 5 && strcmp(host + length - 5, ".test") == 0) {
    const char *names = getenv("NAMES");
    if (names == NULL || access(names, F_OK) != 0) return EAI_AGAIN;
    host = "127.0.0.1";
  }
  return system(host, service, hints, found);
}
