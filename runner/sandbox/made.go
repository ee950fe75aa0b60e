//go:build linux

package sandbox

import "slices"

// Made lists the mount points that were missing in the root and were made,
// parents first. It may be asked after Release and before Close.
func (p *Process) Made() []string {
	var out []string
	for _, m := range p.program.made {
		if p.report != nil && p.report.slots[m.slot] == 1 && !slices.Contains(out, m.path) {
			out = append(out, m.path)
		}
	}
	return out
}
