package layers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// cacheRecord is what lies in cache/<operation>/<key>: a line of JSON, and the data.
type cacheRecord struct {
	Refs []digest.Digest `json:"refs,omitempty"` // layers and blobs without which the record is worthless
	Sum  digest.Digest   `json:"sum"`            // of Data: a record from before a power cut may be torn
	Data []byte          `json:"-"`
}

func (r cacheRecord) encode() ([]byte, error) {
	r.Sum = digest.Canonical.FromBytes(r.Data)
	head, err := json.Marshal(r)
	return append(append(head, '\n'), r.Data...), err
}

func (s *Store) recordDir(op digest.Digest) string { return s.path("cache", op.Encoded()) }

func (s *Store) recordPath(op, key digest.Digest) string {
	return s.path("cache", op.Encoded(), key.Encoded())
}

// Record gives back what PutRecord filed under an operation and a key, and holds
// what it refers to. ErrNotFound when there is none, when it is damaged (it was
// only cache), or when one of its refs is gone.
func (s *Store) Record(op, key digest.Digest) ([]byte, error) {
	data, err := s.record(op, key)
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", key, err)
	}
	return data, nil
}

func (s *Store) record(op, key digest.Digest) ([]byte, error) {
	if err := errors.Join(validDigest(op), validDigest(key)); err != nil {
		return nil, err
	}
	path := s.recordPath(op, key)
	rec, err := readCacheRecord(path)
	if err != nil {
		return nil, err
	}
	if len(rec.Refs) > 0 {
		if err := s.hold(rec.Refs...); err != nil {
			return nil, err
		}
	}
	for _, d := range rec.Refs {
		if !s.exists(d) {
			return nil, ErrNotFound
		}
	}
	s.touch(path)
	return rec.Data, nil
}

func readCacheRecord(path string) (cacheRecord, error) {
	var rec cacheRecord
	raw, err := readRecord(path)
	if err != nil {
		return rec, err
	}
	head, data, _ := bytes.Cut(raw, []byte("\n"))
	rec.Data = data
	if err := json.Unmarshal(head, &rec); err != nil || digest.Canonical.FromBytes(data) != rec.Sum {
		return rec, fmt.Errorf("it is damaged: %w", ErrNotFound)
	}
	for _, d := range rec.Refs {
		if validDigest(d) != nil {
			return rec, fmt.Errorf("it is damaged: %w", ErrNotFound)
		}
	}
	return rec, nil
}

// touch notes the use of a record, at most once an hour: prune drops the records
// that were not used for longest. That it cannot be noted harms nobody.
func (s *Store) touch(path string) {
	now := s.o.Now()
	if st, err := os.Stat(path); err == nil && now.Sub(st.ModTime()) > time.Hour && !s.o.ReadOnly {
		_ = os.Chtimes(path, now, now)
	}
}

// exists tells whether the store has a layer or a blob of that digest.
func (s *Store) exists(d digest.Digest) bool {
	if s.whole(d) {
		return true
	}
	_, _, err := s.find("blobs", d)
	return err == nil
}

// PutRecord files data under an operation and a key. refs are the layers and
// blobs that the record stands for: it keeps them as long as it lives, and is
// not found once one is gone. Records are cache: they are not synced.
func (s *Store) PutRecord(ctx context.Context, op, key digest.Digest, data []byte, refs []digest.Digest) error {
	err := errors.Join(validDigest(op), validDigest(key), ctx.Err())
	for _, d := range refs {
		err = errors.Join(err, validDigest(d))
	}
	var raw []byte
	if err == nil {
		raw, err = cacheRecord{Refs: refs, Data: data}.encode()
	}
	if err == nil {
		err = s.writeRecord(s.recordPath(op, key), raw, false)
	}
	if err != nil {
		return fmt.Errorf("put record %s: %w", key, err)
	}
	return nil
}

// RecordKeys lists the keys under an operation, the most recently used first.
// None is no error.
func (s *Store) RecordKeys(op digest.Digest) ([]digest.Digest, error) {
	if err := validDigest(op); err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	entries, err := os.ReadDir(s.recordDir(op))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list records: %w", err)
	}
	byAge(entries)
	var keys []digest.Digest
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.Canonical, e.Name()); validDigest(d) == nil {
			keys = append(keys, d)
		}
	}
	return keys, nil
}

// Records gives the data of all records of all operations that can be read, the
// longest unused first. Unlike [Store.Record] it holds nothing, and counts as no use.
func (s *Store) Records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		files, err := s.cacheFiles(context.Background())
		if err != nil {
			return // what cannot be listed cannot be read
		}
		for _, f := range files {
			if rec, err := readCacheRecord(s.path("cache", f.op, f.key)); err == nil && !yield(rec.Data) {
				return
			}
		}
	}
}

// DeleteRecord removes a record; that there is none is no error.
func (s *Store) DeleteRecord(op, key digest.Digest) error {
	if err := errors.Join(validDigest(op), validDigest(key)); err != nil {
		return fmt.Errorf("delete record: %w", err)
	}
	if err := os.Remove(s.recordPath(op, key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete record: %w", err)
	}
	return nil
}

// byAge sorts folder entries, the most recently changed first.
func byAge(entries []os.DirEntry) {
	when := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			when[e.Name()] = st.ModTime()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return when[b.Name()].Compare(when[a.Name()]) })
}
