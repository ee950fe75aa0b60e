// Package compress holds the compressed forms of layers: gzip and zstd written so that the bytes depend on nothing but
// the content, and everything that recipes may ADD read back.
package compress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/ulikunitz/xz"
)

// Algorithm names a compression.
type Algorithm string

// The algorithms. Bzip2 and xz are only read.
const (
	None  Algorithm = "none"
	Gzip  Algorithm = "gzip"
	Zstd  Algorithm = "zstd"
	Bzip2 Algorithm = "bzip2"
	Xz    Algorithm = "xz"
)

// The versions of our compressors. Whoever updates a compressor so that its bytes change names a new version here:
// stores remember compressed forms by it, and the golden tests hold it.
const (
	gzipVersion = "gzip-1"
	zstdVersion = "zstd-1"
)

// Bounds of what a stream may make us hold.
const (
	gzipBlock     = 1 << 20
	gzipBlocks    = 4
	maxZstdWindow = 128 << 20
	maxXzDict     = 128 << 20
)

// Spec says how to compress. Level 0 is the algorithm's default.
type Spec struct {
	Algorithm Algorithm
	Level     int
}

func (s Spec) level() int {
	switch {
	case s.Level != 0:
		return s.Level
	case s.Algorithm == Gzip:
		return 6
	case s.Algorithm == Zstd:
		return 3
	}
	return 0
}

// Validate tells what is wrong with a spec that a user gave.
func (s Spec) Validate() error {
	switch s.Algorithm {
	case None:
		if s.Level != 0 {
			return fmt.Errorf("compression level %d: no compression has no levels", s.Level)
		}
	case Gzip:
		if s.Level < 0 || s.Level > 9 {
			return fmt.Errorf("compression level %d: gzip has levels 1 to 9", s.Level)
		}
	case Zstd:
		if s.Level < 0 || s.Level > 22 {
			return fmt.Errorf("compression level %d: zstd has levels 1 to 22", s.Level)
		}
	default:
		return fmt.Errorf("unknown compression %q: use gzip, zstd or none", s.Algorithm)
	}
	return nil
}

// Version names the compressor and its level: equal versions make equal bytes.
func (s Spec) Version() string {
	switch s.Algorithm {
	case Gzip:
		return gzipVersion + ":" + strconv.Itoa(s.level())
	case Zstd:
		return zstdVersion + ":" + strconv.Itoa(s.level())
	}
	return string(None)
}

// Suffix is what a layer's media type ends in, behind a plus sign in OCI's types; empty without compression.
func (s Spec) Suffix() string {
	if s.Algorithm == None || s.Algorithm == "" {
		return ""
	}
	return string(s.Algorithm)
}

// MediaType is the media type of a layer compressed so; Docker's own types know no zstd.
func (s Spec) MediaType(docker bool) (string, error) {
	if !docker {
		if sfx := s.Suffix(); sfx != "" {
			return "application/vnd.oci.image.layer.v1.tar+" + sfx, nil
		}
		return "application/vnd.oci.image.layer.v1.tar", nil
	}
	switch s.Algorithm {
	case Gzip:
		return "application/vnd.docker.image.rootfs.diff.tar.gzip", nil
	case None, "":
		return "application/vnd.docker.image.rootfs.diff.tar", nil
	}
	return "", fmt.Errorf("docker media types have no %s layers: use OCI media types", s.Algorithm)
}

type nopWriter struct{ io.Writer }

func (nopWriter) Close() error { return nil }

// NewWriter compresses into w. Close ends the stream and leaves w open. The bytes do not depend on the number of cores.
func NewWriter(w io.Writer, s Spec) (io.WriteCloser, error) {
	if s.Algorithm == "" {
		s.Algorithm = None
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	switch s.Algorithm {
	case Gzip:
		z, err := pgzip.NewWriterLevel(w, s.level())
		if err != nil {
			return nil, fmt.Errorf("compress with gzip: %w", err)
		}
		if err := z.SetConcurrency(gzipBlock, gzipBlocks); err != nil {
			return nil, fmt.Errorf("compress with gzip: %w", err)
		}
		return z, nil
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(s.level())),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(4<<20), zstd.WithEncoderCRC(true))
		if err != nil {
			return nil, fmt.Errorf("compress with zstd: %w", err)
		}
		return z, nil
	}
	return nopWriter{w}, nil
}

var magics = []struct {
	algorithm Algorithm
	magic     []byte
}{
	{Gzip, []byte{0x1f, 0x8b, 8}},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{Bzip2, []byte("BZh")},
	{Xz, []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
}

// Detect tells the compression of a stream from its first bytes.
func Detect(head []byte) Algorithm {
	for _, m := range magics {
		if bytes.HasPrefix(head, m.magic) {
			return m.algorithm
		}
	}
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18 {
		return Zstd // a skippable frame, as zstd:chunked writers put first
	}
	return None
}

type reader struct {
	io.Reader
	close func() error
}

func (r reader) Close() error { return r.close() }

// NewReader decompresses a stream whose compression it finds out; a stream of none that it knows is given as it is. The
// reader reads to the end of the stream: all members of a gzip, all frames of a zstd. It runs no helper program.
func NewReader(r io.Reader) (io.ReadCloser, Algorithm, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(6)
	if err != nil && len(head) == 0 && err != io.EOF {
		return nil, None, fmt.Errorf("read compressed stream: %w", err)
	}
	nop := func() error { return nil }
	alg := Detect(head)
	var rc io.ReadCloser
	switch alg {
	case Gzip:
		rc, err = newGzip(b)
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err == nil {
			rc = z.IOReadCloser()
		}
	case Bzip2:
		rc, err = reader{bzip2.NewReader(b), nop}, nil
	case Xz:
		var x io.Reader
		x, err = xz.ReaderConfig{DictCap: maxXzDict}.NewReader(b)
		rc = reader{x, nop}
	default:
		rc, err = reader{b, nop}, nil
	}
	if err != nil {
		return nil, alg, fmt.Errorf("decompress %s: %w", alg, err)
	}
	return rc, alg, nil
}
