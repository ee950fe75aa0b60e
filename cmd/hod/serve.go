package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
	"github.com/urfave/cli/v2"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "Serve the store as a registry",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "addr", Value: "127.0.0.1:5000", Usage: "address and port to listen on"},
			&cli.BoolFlag{Name: "read-only", Usage: "refuse pushes and deletes"},
			&cli.BoolFlag{Name: "no-delete", Usage: "refuse deletes"},
			&cli.BoolFlag{Name: "sparse", Usage: "accept manifests whose layers were not pushed"},
			&cli.StringFlag{Name: "htpasswd", Usage: "file of users with bcrypt hashes (htpasswd -B)"},
			&cli.BoolFlag{Name: "anonymous-read", Usage: "with --htpasswd: everybody may pull"},
			&cli.StringFlag{Name: "tls-cert", Usage: "certificate file; needs --tls-key"},
			&cli.StringFlag{Name: "tls-key", Usage: "key file of the certificate"},
			&cli.Int64Flag{Name: "max-blob", Usage: "bytes of the largest blob", Value: 64 << 30},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "write no access log"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			// A server runs for long: what it looked at an hour ago it no longer keeps from hod prune.
			s, err := layers.Open(storeRoot(c), layers.Options{HoldFor: time.Hour})
			if err != nil {
				return err
			}
			return errors.Join(serve(c, s), s.Close())
		},
	}
}

func serve(c *cli.Context, s *layers.Store) error {
	o := server.Options{ReadOnly: c.Bool("read-only"), NoDelete: c.Bool("no-delete"), Sparse: c.Bool("sparse"), MaxBlob: c.Int64("max-blob")}
	if !c.Bool("quiet") {
		o.Log = log.New(c.App.ErrWriter, "", log.LstdFlags|log.LUTC)
	}
	if (c.String("tls-cert") == "") != (c.String("tls-key") == "") {
		return withHint(errors.New("serve: --tls-cert and --tls-key go together"), "give both files")
	}
	if err := serveAuth(c, &o); err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.String("addr"))
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	fmt.Fprintf(c.App.ErrWriter, "serving %s on %s\n", s.Root(), l.Addr())
	srv := &http.Server{Handler: server.New(s, o), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() {
		if c.String("tls-cert") != "" {
			failed <- srv.ServeTLS(l, c.String("tls-cert"), c.String("tls-key"))
			return
		}
		failed <- srv.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-c.Context.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 10*time.Second)
	defer cancel()
	return srv.Shutdown(stop)
}

// serveAuth reads the users, and refuses flags that would mean nothing.
func serveAuth(c *cli.Context, o *server.Options) error {
	path := c.String("htpasswd")
	if path == "" {
		if c.Bool("anonymous-read") {
			return withHint(errors.New("serve: --anonymous-read without --htpasswd"), "without users everybody may read and write")
		}
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer f.Close()
	if o.Auth, err = server.ReadHtpasswd(f); err != nil {
		return fmt.Errorf("serve: %s: %w", path, err)
	}
	o.Auth.AnonymousRead = c.Bool("anonymous-read")
	return nil
}
