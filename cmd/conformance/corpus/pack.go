package corpus

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

var flags = map[byte]byte{File: tar.TypeReg, Folder: tar.TypeDir, Link: tar.TypeSymlink, Char: tar.TypeChar, Block: tar.TypeBlock, Fifo: tar.TypeFifo}

// writeTar writes entries as they are, in their order.
func writeTar(w io.Writer, list []Entry) error {
	tw := tar.NewWriter(w)
	for _, e := range list {
		h := &tar.Header{Name: e.Path, Typeflag: flags[e.Kind], Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, Linkname: e.Target,
			Devmajor: e.Major, Devminor: e.Minor, Size: int64(len(e.Content)), ModTime: time.Unix(e.Time, 0), Format: tar.FormatPAX}
		if !e.Timed {
			h.ModTime = time.Unix(1_000_000_000, 0)
		}
		if e.Kind == Folder {
			h.Name += "/"
		}
		if e.Same != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, e.Same
		}
		for k, v := range e.Xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
		if _, err := tw.Write(e.Content); err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
	}
	return tw.Close()
}

// compressed compresses as the end of a name says.
func compressed(name string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch path.Ext(strings.TrimSuffix(name, ".bin")) { // .bin hides what the content is
	case ".gz", ".tgz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return data, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
