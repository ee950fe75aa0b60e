package source

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
)

// seen is what a server said of a file when it was downloaded last. A server that is asked again with the ETag answers only
// whether it is still so, and the key of a step needs no more than the digest.
type seen struct {
	ETag     string        `json:"etag"`
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	Modified time.Time     `json:"modified"`
}

// seenFiles bounds how many URLs are remembered.
const seenFiles = 512

// place is where the URL is remembered, "" for nowhere. A file whose checksum is known needs no server to say what it is.
func (f Fetch) place() string {
	if f.Seen == "" || f.Checksum != "" {
		return ""
	}
	return filepath.Join(f.Seen, digest.FromString(f.URL).Encoded())
}

// last is what the server said last, nil where it said nothing that can be asked again.
func (f Fetch) last() *seen {
	data, err := os.ReadFile(f.place())
	var s seen
	if err != nil || json.Unmarshal(data, &s) != nil || s.ETag == "" || s.Digest.Validate() != nil || s.Size < 0 {
		return nil
	}
	return &s
}

// remember keeps what the server said. It only saves a download: that it cannot be kept is no error.
func (f Fetch) remember(s seen) {
	place := f.place()
	if place == "" || s.ETag == "" {
		return
	}
	data, err := json.Marshal(s)
	if err != nil || os.MkdirAll(f.Seen, 0o700) != nil || lockfile.AtomicWrite(place, data, 0o600, false) != nil {
		return
	}
	_ = forget(f.Seen, seenFiles, time.Now())
}

// Complete downloads what the server only said to be what it was, and does nothing where the content is here.
func (d *Download) Complete(ctx context.Context) error {
	if d.file != nil {
		return nil
	}
	whole := d.fetch
	whole.Checksum = d.Digest
	now, err := whole.Do(ctx)
	if err != nil {
		if ctx.Err() == nil {
			os.Remove(d.fetch.place()) // it may be the server's ETag that is wrong: the next build asks without it
		}
		return err
	}
	d.file = now.file
	return nil
}
