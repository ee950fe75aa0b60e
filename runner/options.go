package runner

import (
	"time"
)

// ImageConfig is the part of an image's configuration that decides how a
// container of it runs. It is read from the image's raw JSON and never written
// back, so that fields unknown to us survive in the image.
type ImageConfig struct {
	User         string              `json:"User,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	StopTimeout  *int                `json:"StopTimeout,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"`
}

// Healthcheck says how a container's health is probed. Test is docker's form:
// ["NONE"], ["CMD", args…] or ["CMD-SHELL", line]; durations of zero mean the
// default (30 s, 30 s, 0 s, 5 s, 3 tries).
type Healthcheck struct {
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// ContainerOptions is what the flags of run and create ask for. The zero value
// is a container with every default. It is kept whole in the container's
// record, so that start and restart mean what create meant.
type ContainerOptions struct {
	// Name is the container's name; empty: one is made up.
	Name string
	// Args replaces the image's Cmd when not empty.
	Args []string
	// Entrypoint replaces the image's entry point when EntrypointSet; an empty
	// one removes it. The image's Cmd is dropped with it.
	Entrypoint    []string
	EntrypointSet bool
	// Env is KEY=VALUE lines that win over the image's.
	Env []string
	// WorkingDir and User replace the image's when not empty.
	WorkingDir string
	User       string
	GroupAdd   []string

	Hostname   string
	Domainname string
	ExtraHosts []string // host:ip, ip may be host-gateway
	DNS        []string
	DNSSearch  []string
	DNSOptions []string

	Terminal    bool
	ConsoleSize [2]uint16 // rows and columns at first; zero: none
	Interactive bool      // keep standard input open
	Attach      []string
	AutoRemove  bool
	Once        bool // by run with AutoRemove: nobody but its maker will start it
	ReadOnly    bool
	Init        bool
	Labels      map[string]string
	Annotations map[string]string

	StopSignal  string
	StopTimeout *int // seconds; nil: the image's, else 10
	Restart     RestartPolicy
	Health      *Healthcheck
	LogDriver   string // json-file, none
	LogMaxSize  int64  // bytes, 0: no rotation
	LogMaxFile  int    // files kept, at least 1

	Mounts []MountSpec
	// VolumesFrom are containers, NAME[:ro], whose volumes and binds this one has too.
	VolumesFrom []string

	// Network is private (or bridge, default), none, host or container:ID.
	Network string
	// MAC and IP are asked for by --mac-address and --ip; empty: chosen.
	MAC, IP    string
	Ports      []PortMapping
	PublishAll bool
	Expose     []string // "80/tcp"

	Resources Resources
	Ulimits   []Ulimit
	ShmSize   int64 // bytes, 0: 64 MiB
	Devices   []DeviceMapping
	// DeviceRules are docker's --device-cgroup-rule: "c 10:229 rwm".
	DeviceRules []string
	Sysctls     map[string]string
	OOMAdj      *int

	CapAdd, CapDrop []string
	SecurityOpt     []string
	Privileged      bool
	// Namespaces: "" is a private one, "host" the host's; pid, ipc and uts may
	// be "container:ID" where docker allows it.
	UserNS, PIDNS, IPCNS, UTSNS, CgroupNS string
	CgroupParent                          string

	// Runtime is a path or name of another OCI runtime; empty: our own.
	Runtime  string
	Platform string
}

// RestartPolicy is docker's --restart. Name is "", "no", "always",
// "unless-stopped" or "on-failure"; Max bounds the retries of on-failure, 0: none.
type RestartPolicy struct {
	Name string `json:"Name"`
	Max  int    `json:"MaximumRetryCount"`
}

// MountSpec is one -v, --mount or --tmpfs. Type is bind, volume, tmpfs or image.
type MountSpec struct {
	Type        string
	Source      string // absolute path of a bind, name of a volume (empty: anonymous), what the user called an image
	Subpath     string `json:",omitempty"` // the part of a volume or of an image; empty: the whole
	Target      string
	ReadOnly    bool
	NoCopy      bool   // a new volume is not filled from the image
	Propagation string // rprivate when empty
	NonRecur    bool   // bind only the mount itself
	CreateSrc   bool   // -v makes a missing source folder, --mount does not
	TmpfsSize   int64
	TmpfsMode   uint32
	Options     []string // further options of a tmpfs
	// Volume is how a volume is made that is not there yet.
	Volume VolumeOptions `json:",omitzero"`
	// ImageID and Chain are the image's.
	ImageID string   `json:",omitempty"`
	Chain   []string `json:",omitempty"`
}

// VolumeOptions is what volume create says of a volume: labels, and the options
// type, device and o of docker's local driver.
type VolumeOptions struct {
	Labels  map[string]string `json:",omitempty"`
	Options map[string]string `json:",omitempty"`
}

// PortMapping publishes a port of a container. A HostPort of 0 is a free port;
// with a HostLast it is the first free one of that range.
type PortMapping struct {
	HostIP        string // empty: all addresses
	HostPort      uint16
	HostLast      uint16 `json:",omitempty"`
	ContainerPort uint16
	Protocol      string // tcp or udp
}

// Resources are the limits of a container's control group; zero: no limit,
// but Pids, where zero is the default of 2048 and -1 none.
type Resources struct {
	Memory            int64
	MemorySwap        int64 // memory and swap together; -1: no limit on swap
	MemoryReservation int64
	MemorySwappiness  *uint64
	OOMKillDisable    bool
	NanoCPUs          int64
	CPUShares         uint64
	CPUPeriod         uint64
	CPUQuota          int64
	CpusetCPUs        string
	CpusetMems        string
	PidsLimit         int64
	BlkioWeight       uint16
	DeviceReadBps     []ThrottleDevice
	DeviceWriteBps    []ThrottleDevice
	DeviceReadIOps    []ThrottleDevice
	DeviceWriteIOps   []ThrottleDevice
}

// ThrottleDevice bounds the rate at which one block device is used.
type ThrottleDevice struct {
	Path string
	Rate uint64
}

// Ulimit is one --ulimit; -1 is no limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// DeviceMapping is one --device: a node of the host, its path inside and the
// letters r, w and m that it grants.
type DeviceMapping struct {
	PathOnHost, PathInContainer, Permissions string
}
