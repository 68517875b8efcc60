package installer

import (
	"io/fs"
	"path"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd"
)

// Where things go. Paths are absolute, and meant below Host.Root.
const (
	Program   = "/usr/local/bin/portgrave"
	UnitDir   = "/etc/systemd/system"
	ConfigDir = policy.DefaultPath
	Policy    = ConfigDir + "/policy.yaml"
	StateDir  = host.DefaultStateDir
	dropInDir = "/usr/local/share/portgrave"

	sysusersFile = "/etc/sysusers.d/portgrave.conf"
	tmpfilesFile = "/etc/tmpfiles.d/portgrave.conf"
)

// packaged is where packages put units: where one stands, all of it is the package's business.
const packaged = "/usr/lib/systemd/system/portgrave.service"

// Kind is what stands at a path.
type Kind string

// Kinds of what is installed.
const (
	Regular Kind = "file"
	Folder  Kind = "folder"
	Link    Kind = "link"
)

// File is something that belongs on a host.
type File struct {
	Path    string
	Kind    Kind
	Mode    fs.FileMode
	Content []byte // of a file
	Target  string // of a link
	// Keep: if something is there already it is the administrator's, whatever it says.
	Keep bool
	// State: it holds what was applied, and outlives the program unless told otherwise.
	State bool
}

// Files are what belongs on a host, in the order in which they are made. program is the running binary.
func Files(program []byte, policy []byte) []File {
	files := []File{
		{Path: Program, Kind: Regular, Mode: 0o755, Content: program},
		{Path: dropInDir, Kind: Folder, Mode: 0o755},
		{Path: ConfigDir, Kind: Folder, Mode: 0o750, Keep: true},
		{Path: ConfigDir + "/policy.d", Kind: Folder, Mode: 0o750, Keep: true},
		{Path: Policy, Kind: Regular, Mode: 0o644, Content: policy, Keep: true},
		{Path: StateDir, Kind: Folder, Mode: 0o750, Keep: true, State: true},
		{Path: sysusersFile, Kind: Regular, Mode: 0o644, Content: systemd.File("portgrave.sysusers")},
		{Path: tmpfilesFile, Kind: Regular, Mode: 0o644, Content: systemd.File("portgrave.tmpfiles")},
	}
	for _, name := range systemd.DropIns {
		files = append(files, File{Path: path.Join(dropInDir, name), Kind: Regular, Mode: 0o644, Content: systemd.File(name)})
	}
	for _, name := range systemd.Units {
		files = append(files, File{Path: path.Join(UnitDir, name), Kind: Regular, Mode: 0o644, Content: systemd.For(name, Program)})
	}
	for _, name := range systemd.Enabled {
		for _, target := range systemd.Settings("Install", "WantedBy", systemd.File(name)) {
			files = append(files, File{Path: path.Join(UnitDir, target+".wants", name), Kind: Link, Target: path.Join(UnitDir, name)})
		}
	}
	return files
}
