/* A file system without locks: every flock fails with the error number in NO_FLOCK. */
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation)
{
    (void)descriptor;
    (void)operation;
    errno = atoi(getenv("NO_FLOCK"));
    return -1;
}
