package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// maxPassword bounds what is read as a password.
const maxPassword = 64 << 10

func loginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "Save a credential for a registry",
		ArgsUsage: "[REGISTRY]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "username", Aliases: []string{"u"}, Usage: "user name"},
			&cli.StringFlag{Name: "password", Aliases: []string{"p"}, Usage: "password (others may see it: prefer --password-stdin)"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from standard input"},
			plainHTTP(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			user, password, err := credential(c)
			if err != nil {
				return err
			}
			if err := newClient(c).Login(c.Context, registryOf(c), user, password); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.App.Writer, "Login Succeeded")
			return err
		},
	}
}

func registryOf(c *cli.Context) string {
	host := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(c.Args().First(), "https://"), "http://"), "/")
	if host == "" || host == "index.docker.io" {
		return layers.DefaultRegistry
	}
	return host
}

// credential takes user and password from flags, standard input or the terminal.
func credential(c *cli.Context) (user, password string, err error) {
	user = c.String("username")
	if c.Bool("password-stdin") {
		if user == "" {
			return "", "", withHint(errors.New("login: --password-stdin without a user name"), "add -u USER")
		}
		raw, err := io.ReadAll(io.LimitReader(c.App.Reader, maxPassword))
		return user, strings.TrimRight(string(raw), "\r\n"), err
	}
	if user == "" {
		if user, err = ask(c, "Username: ", true); err != nil {
			return "", "", err
		}
	}
	if password = c.String("password"); password == "" {
		password, err = ask(c, "Password: ", false)
	}
	return user, password, err
}

// ask reads a line from the terminal, without showing it where echo is false.
func ask(c *cli.Context, prompt string, echo bool) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, readTermios)
	if err != nil {
		return "", withHint(errors.New("login: standard input is not a terminal"), "hod login -u USER --password-stdin REGISTRY < FILE")
	}
	fmt.Fprint(c.App.ErrWriter, prompt)
	if !echo {
		quiet := *old
		quiet.Lflag &^= unix.ECHO
		if err := unix.IoctlSetTermios(fd, writeTermios, &quiet); err != nil {
			return "", err
		}
		defer func() {
			unix.IoctlSetTermios(fd, writeTermios, old)
			fmt.Fprintln(c.App.ErrWriter)
		}()
	}
	return readLine(os.Stdin)
}

// readLine reads to the end of the line and not a byte further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxPassword {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("the line is too long")
}

func logoutCommand() *cli.Command {
	return &cli.Command{
		Name:      "logout",
		Usage:     "Forget the credential of a registry",
		ArgsUsage: "[REGISTRY]",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1); err != nil {
				return err
			}
			host := registryOf(c)
			had, err := newClient(c).Logout(c.Context, host)
			if err != nil {
				return err
			}
			if !had {
				_, err = fmt.Fprintf(c.App.Writer, "Not logged in to %s\n", host)
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "Removing login credentials for %s\n", host)
			return err
		},
	}
}
