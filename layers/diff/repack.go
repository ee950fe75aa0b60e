package diff

import (
	"archive/tar"
	"context"
	"io"
	"slices"
	"time"
)

// Repack writes the tar of a layer that our packer made from its index and its files, byte for byte as the first time:
// Repack(index of Pack(t)) == Pack(t). open reads a regular file; marks is the time that whiteouts have in the tar.
func Repack(ctx context.Context, x *Index, open func(Entry) (io.ReadCloser, error), marks time.Time, w io.Writer) error {
	p := NewWriter(w, PackOptions{Timestamps: Source, Epoch: marks})
	for _, e := range tarEntries(x) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.copyEntry(*e, open); err != nil {
			return err
		}
	}
	_, err := p.Close()
	return err
}

func (p *Writer) copyEntry(e Entry, open func(Entry) (io.ReadCloser, error)) error {
	if e.Size == 0 || !e.IsRegular() {
		return p.WriteEntry(e, nil)
	}
	f, err := open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.WriteEntry(e, f)
}

// tarEntries is settleIndex backwards: the entries of the tar that an index tells of.
func tarEntries(x *Index) []*Entry {
	list := make([]*Entry, 0, len(x.Entries))
	for _, e := range x.Entries {
		if e.Type == TypeWhiteout {
			dir, base := split(e.Path)
			list = append(list, &Entry{Path: join(dir, ".wh."+base), Type: tar.TypeReg})
			continue
		}
		if !e.Implied {
			list = append(list, e)
		}
		if e.Opaque {
			list = append(list, &Entry{Path: join(e.Path, ".wh..wh..opq"), Type: tar.TypeReg})
		}
	}
	slices.SortFunc(list, byPath)
	return list
}
