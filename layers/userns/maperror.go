package userns

import (
	"errors"
	"os"
	"syscall"
)

// MapError says that a tree cannot be shown with other owners.
type MapError struct{ os.PathError }

// Unwrap is what the kernel answered.
func (e *MapError) Unwrap() error { return e.Err }

// Hint is for file systems that know no other owners, as the root of a container.
func (e *MapError) Hint() string {
	if !errors.Is(e.Err, syscall.EINVAL) {
		return ""
	}
	return "the file system of the store shows no other owners, as an overlay: keep the store on another (in a container on a volume: docker run -v hod:/var/lib/hod)"
}
