//go:build linux

package sandbox

import (
	"context"
	"testing"
)

// BenchmarkStart is a whole sandbox in this process: compiled, started, waited for.
func BenchmarkStart(b *testing.B) {
	root := busyboxRoot(b)
	maps := []Range{{0, 500000, 65536}}
	for _, way := range []string{"shared", "forked"} {
		b.Run(way, func(b *testing.B) {
			for b.Loop() {
				p, err := Compile(Options{Spec: testSpec("/bin/true"), Root: Root{Source: root}, UIDs: maps, GIDs: maps, Die: true})
				if err != nil {
					b.Fatal(err)
				}
				p.shared = way == "shared"
				proc, err := Start(context.Background(), p, nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := proc.Release(); err != nil {
					b.Fatal(err)
				}
				if status, err := proc.Wait(); err != nil || status.ExitStatus() != 0 {
					b.Fatal(status, err)
				}
				proc.Close()
			}
		})
	}
}
