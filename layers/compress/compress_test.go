package compress

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
)

// text is bytes that compress, the same everywhere.
func text() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 5<<20)
	for i := range b {
		b[i] = "etaoin shrdlu\n"[r.IntN(14)]
	}
	return b
}

func TestGoldenBytesOnAnyNumberOfCores(t *testing.T) {
	in := text()
	for _, c := range []struct {
		spec Spec
		want digest.Digest
	}{
		{Spec{Algorithm: Gzip}, "sha256:d7ac727304207fd17a90f4de0b4f0905b530ebdf374ac6f5551332d7fa9cd226"},
		{Spec{Algorithm: Zstd}, "sha256:9b4f9e97da03f5e9722cae615db8d5f3aba4230af7bd1b7517af48b7b4a9292b"},
	} {
		for _, procs := range []int{1, 2, 8} {
			old := runtime.GOMAXPROCS(procs)
			var b bytes.Buffer
			w, err := NewWriter(&b, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(in); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			runtime.GOMAXPROCS(old)
			if got := digest.FromBytes(b.Bytes()); got != c.want {
				t.Errorf("%s with %d cores: %s, want %s: name a new version if this must be", c.spec.Version(), procs, got, c.want)
			}
			r, alg, err := NewReader(&b)
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			r.Close()
			if err != nil || alg != c.spec.Algorithm || !bytes.Equal(out, in) {
				t.Errorf("%s reads back %d bytes as %s: %v", c.spec.Version(), len(out), alg, err)
			}
		}
	}
}

func TestGzipReadsAllMembersAndRefusesEmptyOnes(t *testing.T) {
	member := func(s string) []byte {
		var b bytes.Buffer
		w, _ := NewWriter(&b, Spec{Algorithm: Gzip})
		io.WriteString(w, s)
		w.Close()
		return b.Bytes()
	}
	read := func(b []byte) (string, error) {
		r, _, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return "", err
		}
		out, err := io.ReadAll(r)
		return string(out), err
	}
	two := append(member("a"), member("b")...)
	if got, err := read(two); got != "ab" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read(append(two, "garbage!!!"...)); err == nil {
		t.Error("garbage behind the stream is accepted")
	}
	if _, err := read(two[:len(two)-3]); err == nil {
		t.Error("a stream that is cut off is accepted")
	}
	if _, err := read(bytes.Repeat(member(""), maxEmptyMembers+10)); err == nil {
		t.Error("a stream of empty members is accepted")
	}
}
