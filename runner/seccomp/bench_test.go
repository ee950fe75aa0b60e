//go:build linux

package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkDefault is what each RUN and each start pay for their filter.
func BenchmarkDefault(b *testing.B) {
	s := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}}, Linux: &specs.Linux{}}
	b.ReportAllocs()
	for b.Loop() {
		p, err := Default(s)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
