package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// refused are Docker's flags of run and create that hod does not have, and what
// to do instead. They are known so that nobody has to guess.
var refused = []struct{ name, why, remedy string }{
	{"blkio-weight-device", "io weights of single devices are not set", "--blkio-weight for all devices, or --device-read-bps and its kin"},
	{"cpu-count", "it is for Windows", "--cpus"},
	{"cpu-percent", "it is for Windows", "--cpus"},
	{"cpu-rt-period", "kernels no longer schedule groups in real time", "--ulimit rtprio=99 --cap-add SYS_NICE"},
	{"cpu-rt-runtime", "kernels no longer schedule groups in real time", "--ulimit rtprio=99 --cap-add SYS_NICE"},
	{"gpus", "hod does not know the vendor's driver", "--device for each node of it, -v for its libraries"},
	{"io-maxbandwidth", "it is for Windows", "--device-read-bps and --device-write-bps"},
	{"io-maxiops", "it is for Windows", "--device-read-iops and --device-write-iops"},
	{"ip6", "private networks have version 4 addresses", "--ip, or --network host"},
	{"kernel-memory", "the kernel has no such limit any more", "--memory, which counts the kernel's too"},
	{"link", "there are no links", "--network container:NAME to meet on localhost, or --add-host NAME:IP"},
	{"link-local-ip", "addresses are given by hod", "--ip"},
	{"network-alias", "names of containers do not resolve", "--add-host NAME:IP, or --network container:NAME to meet on localhost"},
	{"storage-opt", "the writable layer takes what the store's file system has", "--tmpfs TARGET:size=SIZE for a bounded folder"},
	{"use-api-socket", "there is no daemon with a socket", "-v for a socket of your own"},
}

// refusedFlag is the flag of that name, hidden and with or without a value.
func refusedFlag(name string) cli.Flag {
	const usage = "not in hod, which says what to use instead"
	if name == "use-api-socket" {
		return &cli.BoolFlag{Name: name, Hidden: true, Usage: usage}
	}
	return &cli.StringSliceFlag{Name: name, Hidden: true, Usage: usage}
}

func refusedFlags() []cli.Flag {
	var flags []cli.Flag
	for _, r := range refused {
		flags = append(flags, refusedFlag(r.name))
	}
	return append(flags,
		&cli.BoolFlag{Name: "disable-content-trust", Value: true, Hidden: true, Usage: "hod has none to disable"},
		&cli.StringFlag{Name: "isolation", Hidden: true, Usage: "default"},
		&cli.StringFlag{Name: "volume-driver", Hidden: true, Usage: "local"},
	)
}

// checkRefused says what to use instead of a flag that hod does not have.
func checkRefused(c *cli.Context) error {
	for _, r := range refused {
		if c.IsSet(r.name) {
			return withHint(fmt.Errorf("--%s: %s", r.name, r.why), "use "+r.remedy)
		}
	}
	if v := c.String("isolation"); v != "" && v != "default" {
		return withHint(fmt.Errorf("--isolation %q: it is for Windows; here it is default", v), "--runtime PATH puts another sandbox around the container")
	}
	if v := c.String("volume-driver"); v != "" && v != "local" {
		return withHint(fmt.Errorf("--volume-driver %q: volumes are folders of the store, the driver is local", v), "mount it on the host, and -v FOLDER:TARGET")
	}
	return nil
}
