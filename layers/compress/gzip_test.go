package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	kgzip "github.com/klauspost/compress/gzip"
)

// samples are contents of every kind that deflate treats differently.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var far bytes.Buffer // matches at every distance up to the farthest
	for far.Len() < 1<<20 {
		far.Write(noise[:8+r.IntN(32<<10-8)])
	}
	return map[string][]byte{
		"empty": nil, "one": {7}, "noise": noise, "zeros": make([]byte, 1<<20), "text": text()[:1<<20], "far": far.Bytes(),
		"words": []byte(strings.Repeat("the quick brown fox. ", 40000)), "period 3": bytes.Repeat([]byte("abc"), 100000),
	}
}

func deflated(t testing.TB, data []byte, level int) []byte {
	var b bytes.Buffer
	w, err := stdgzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestGzipReadsWhatWasWritten(t *testing.T) {
	for name, data := range samples() {
		for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 6, 9} {
			z := deflated(t, data, level)
			ways := map[string]io.Reader{"whole": bytes.NewReader(z), "data with EOF": iotest.DataErrReader(bytes.NewReader(z))}
			if len(z) < 100<<10 {
				ways["bytewise"] = iotest.OneByteReader(bytes.NewReader(z))
			}
			for way, src := range ways {
				g, err := newGzip(src)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(g)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, level %d, %s: %d bytes, want %d: %v", name, level, way, len(got), len(data), err)
				}
			}
		}
	}
}

// Every prefix of a stream is an error, and so is every stream with a bit flipped that no longer gives its content.
func TestGzipRefusesDamage(t *testing.T) {
	data := text()[:4000]
	z := deflated(t, data, 6)
	for n := range z {
		if out, err := unzip(z[:n]); err == nil || !bytes.HasPrefix(data, out[:max(len(out)-2, 0)]) {
			t.Fatalf("cut to %d of %d bytes: %d bytes out, %v", n, len(z), len(out), err)
		}
	}
	for n := range z {
		bad := bytes.Clone(z)
		bad[n] ^= 1 << (n % 8)
		if out, err := unzip(bad); err == nil && !bytes.Equal(out, data) {
			t.Fatalf("bit %d of byte %d flipped: other content without an error", n%8, n)
		}
	}
}

func unzip(z []byte) ([]byte, error) {
	g, err := newGzip(bytes.NewReader(z))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(g)
}

func stdUnzip(z []byte) ([]byte, error) {
	g, err := stdgzip.NewReader(bytes.NewReader(z))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(g, 64<<20))
}

// FuzzGzip: what compress/gzip takes we take, with equal content; what it refuses we refuse.
func FuzzGzip(f *testing.F) {
	for _, data := range samples() {
		data = data[:min(len(data), 3000)]
		for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 6} {
			f.Add(deflated(f, data, level))
		}
	}
	two := append(deflated(f, []byte("a"), 6), deflated(f, []byte("b"), 6)...)
	f.Add(two)
	f.Fuzz(func(t *testing.T, z []byte) {
		want, werr := stdUnzip(z)
		if len(want) >= 64<<20 {
			return
		}
		got, err := unzip(z)
		if (err == nil) != (werr == nil) {
			t.Fatalf("we say %v, compress/gzip says %v", err, werr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, compress/gzip gives %d others", len(got), len(want))
		}
	})
}

// FuzzInflateBlocks feeds raw deflate data behind a good header, so that damage gets past it; sums are not looked at.
func FuzzInflateBlocks(f *testing.F) {
	for _, data := range samples() {
		z := deflated(f, data[:min(len(data), 2000)], 9)
		f.Add(z[10 : len(z)-8])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		z := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, raw...)
		got, err := unzip(append(z, make([]byte, 8)...))
		want, werr := stdUnzip(append(z, make([]byte, 8)...))
		n := min(len(got), len(want))
		if !bytes.Equal(got[:n], want[:n]) || (err == nil) != (werr == nil) {
			t.Fatalf("%d bytes and %v, compress/gzip gives %d and %v", len(got), err, len(want), werr)
		}
	})
}

// benchData is a file of this machine that is like what layers hold.
func benchData(b *testing.B) []byte {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		b.Fatal(err)
	}
	return append(data, text()...)
}

func BenchmarkGunzip(b *testing.B) {
	z := deflated(b, benchData(b), 6)
	for _, c := range []struct {
		name string
		open func(io.Reader) (io.Reader, error)
	}{
		{"hod", func(r io.Reader) (io.Reader, error) { return newGzip(r) }},
		{"klauspost", func(r io.Reader) (io.Reader, error) { return kgzip.NewReader(r) }},
		{"stdlib", func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 256<<10)
			for b.Loop() {
				r, err := c.open(bytes.NewReader(z))
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
			}
		})
	}
}
