// Package cache decides whether a step has to run.
//
// A step has an operation (what it does, without its inputs), and two keys. The fast key follows from the keys of its
// inputs and is known before anything runs; the content key follows from what the inputs turned out to be, and lets a
// step be skipped whose inputs were made again with the same result. A [Record] says what the step left, and is filed
// under both keys in the folder of its operation, where the nearest record says, by name, why a step has to run again.
//
//	op := cache.Operation("COPY", "/app/", "chown=")
//	key := cache.Key(op, inputs)
//	if r, err := c.Find(op, key); err == nil { return r.Layer }
//	// perform the step, then
//	err = c.Save(ctx, op, cache.Record{Layer: diffID, Inputs: inputs}, fast, content)
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Version is part of every key: it changes when the same recipe gives other layers than before.
const Version = "1"

// Input is one named thing that a step depends on: a file, an argument, the chain below.
type Input struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	// Value is what the explanation prints, "" for values that are long, or may be secret.
	Value string `json:"value,omitempty"`
}

// Text makes an input of a short text, such as a build argument. A name that looks like a secret's keeps its value out
// of the record; the digest alone is salted with the name, and no dictionary is printed.
func Text(name, value string) Input {
	i := Input{Name: name, Digest: Operation("text", name, value)}
	if len(value) <= 200 && !LooksSecret(name) {
		i.Value = value
	}
	return i
}

var secretWords = []string{"secret", "passw", "pwd", "token", "apikey", "api_key", "credential", "private", "auth", "key"}

// LooksSecret says whether a name reads as that of a secret.
func LooksSecret(name string) bool {
	lower := strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(lower, w) })
}

// Operation is the digest of what a step does. Its parts are framed, so no two lists give one digest by concatenation.
func Operation(parts ...string) digest.Digest {
	h := sha256.New()
	frame(h, Version)
	for _, p := range parts {
		frame(h, p)
	}
	return digest.NewDigest(digest.SHA256, h)
}

// Key is the digest of an operation on inputs, in their order.
func Key(op digest.Digest, inputs []Input) digest.Digest {
	h := sha256.New()
	frame(h, op.String())
	for _, i := range inputs {
		frame(h, i.Name)
		frame(h, i.Digest.String())
	}
	return digest.NewDigest(digest.SHA256, h)
}

func frame(h hash.Hash, s string) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	io.WriteString(h, s)
}

// Store keeps records; *layers.Store is one.
type Store interface {
	Record(op, key digest.Digest) ([]byte, error)
	PutRecord(ctx context.Context, op, key digest.Digest, data []byte, refs []digest.Digest) error
	RecordKeys(op digest.Digest) ([]digest.Digest, error)
	// Records gives the data of all records of all operations; looking at them is no use of them.
	Records() iter.Seq[[]byte]
}

// Cache finds and files records.
type Cache struct {
	Store Store
	// Missing says whether an error of the store means that there is no such record.
	Missing func(error) bool
}

// Find gives the record under a key, without its inputs, nil when there is none. A record that cannot be read is none.
func (c *Cache) Find(op, key digest.Digest) (*Record, error) {
	data, err := c.Store.Record(op, key)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || c.Missing != nil && c.Missing(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read cache record: %w", err)
	}
	r, _, ok := decode(data)
	if !ok {
		return nil, nil
	}
	return &r, nil
}

// None says whether an operation has no record at all.
func (c *Cache) None(op digest.Digest) (bool, error) {
	keys, err := c.Store.RecordKeys(op)
	if err != nil {
		return false, fmt.Errorf("list cache records: %w", err)
	}
	return len(keys) == 0, nil
}

// Save files a record under all its keys; its layer must be in the store.
func (c *Cache) Save(ctx context.Context, op digest.Digest, r Record, keys ...digest.Digest) error {
	data, err := r.encode()
	if err != nil {
		return err
	}
	var refs []digest.Digest
	if r.Layer != "" {
		refs = []digest.Digest{r.Layer}
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if err := c.Store.PutRecord(ctx, op, key, data, refs); err != nil {
			return fmt.Errorf("write cache record: %w", err)
		}
	}
	return nil
}
