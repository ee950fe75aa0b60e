package runner

import "github.com/hodbuild/hod/runner/network"

// unplug removes the host's end of a device pair that a dead monitor left.
func unplug(link string) { network.Unplug(link) }
