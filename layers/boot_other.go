//go:build !linux

package layers

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bootID names this boot of the machine.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// bootSeconds is a clock that all processes of a boot share.
func bootSeconds() int64 { return time.Now().Unix() }

// beginWriting leaves it to the sync.
func beginWriting(*os.File, int64, int64) {}

// syncFS makes everything on a file's file system durable.
func syncFS(*os.File) error { return unix.Sync() }
