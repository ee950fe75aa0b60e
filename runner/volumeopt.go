package runner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// check refuses options that docker's local driver does not have.
func (o VolumeOptions) check() error {
	if len(o.Options) == 0 {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(o.Options)) {
		if !slices.Contains([]string{"type", "device", "o"}, key) {
			return fmt.Errorf("invalid option %q: volumes have type, device and o", key)
		}
	}
	for _, key := range []string{"device", "type"} {
		if o.Options[key] == "" {
			return fmt.Errorf("missing required option %q", key)
		}
	}
	return nil
}

// bind is the folder of the host that the volume is, where it is one, and
// whether it is read-only.
func (o VolumeOptions) bind() (dir string, readOnly, ok bool) {
	words := strings.Split(o.Options["o"], ",")
	if o.Options["type"] != "none" && o.Options["type"] != "bind" || !slices.Contains(words, "bind") && !slices.Contains(words, "rbind") {
		return "", false, false
	}
	return o.Options["device"], slices.Contains(words, "ro"), true
}

// mounts says that the volume is a file system that has to be mounted.
func (o VolumeOptions) mounts() bool {
	_, _, bind := o.bind()
	return len(o.Options) > 0 && !bind
}
