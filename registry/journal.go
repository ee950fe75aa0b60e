package registry

import (
	"errors"
	"sync"

	"github.com/hodbuild/hod/layers"
)

// journal keeps the location of an upload for the process that comes after this one. A
// layer's whose blob is still in the making has two keys: the next push may make it once
// more, or know the blob.
type journal struct {
	mu       sync.Mutex // guards what follows
	kept     []*layers.Partial
	location string
}

// open keeps the location under one more key. Another process may have that.
func (j *journal) open(store *layers.Store, key string) error {
	p, err := store.Partial(key)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept = append(j.kept, p)
	if j.location != "" {
		return p.SetState([]byte(j.location))
	}
	raw, err := p.State()
	j.location = string(raw)
	return err
}

func (j *journal) Location() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.location
}

func (j *journal) SetLocation(s string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.location = s
	var errs []error
	for _, p := range j.kept {
		errs = append(errs, p.SetState([]byte(s)))
	}
	return errors.Join(errs...)
}

// end forgets the location, or leaves it where the upload failed.
func (j *journal) end(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.kept {
		if err == nil {
			err = p.Remove()
		} else {
			err = errors.Join(err, p.Close())
		}
	}
	return err
}
