package installer

import (
	"io/fs"
	"path"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd"
)

// Paths of installed files. They are absolute, and relative to Host.Root.
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

// packagedUnit is a unit that packages install. If it exists, the package manages everything.
const packagedUnit = "/usr/lib/systemd/system/portgrave.service"

// Kind is the kind of file at a path.
type Kind string

// The kinds that are installed.
const (
	Regular Kind = "file"
	Folder  Kind = "folder"
	Link    Kind = "link"
)

// File is a file, folder or link that belongs on a host.
type File struct {
	Path    string
	Kind    Kind
	Mode    fs.FileMode
	Content []byte // of a file
	Target  string // of a link
	// Keep is true if an existing file is the administrator's, whatever its content.
	Keep bool
	// State is true for what was applied, which outlives the program unless Wish.State is set.
	State bool
}

// Files lists what belongs on a host, in the order of creation. program is the running binary.
func Files(program []byte, policy []byte) []File {
	files := []File{
		{Path: Program, Kind: Regular, Mode: 0o755, Content: program},
		{Path: dropInDir, Kind: Folder, Mode: 0o755},
		{Path: ConfigDir, Kind: Folder, Mode: 0o750, Keep: true},
		{Path: ConfigDir + "/policy.d", Kind: Folder, Mode: 0o750, Keep: true},
		{Path: Policy, Kind: Regular, Mode: 0o644, Content: policy, Keep: true},
		{Path: StateDir, Kind: Folder, Mode: 0o750, Keep: true, State: true},
		{Path: sysusersFile, Kind: Regular, Mode: 0o644,
			Content: systemd.File("portgrave.sysusers")},
		{Path: tmpfilesFile, Kind: Regular, Mode: 0o644,
			Content: systemd.File("portgrave.tmpfiles")},
	}
	for _, name := range systemd.DropIns {
		files = append(files,
			File{Path: path.Join(dropInDir, name), Kind: Regular, Mode: 0o644,
				Content: systemd.File(name)})
	}
	for _, name := range systemd.Units {
		files = append(files,
			File{Path: path.Join(UnitDir, name), Kind: Regular, Mode: 0o644,
				Content: systemd.For(name, Program)})
	}
	for _, name := range systemd.Enabled {
		for _, target := range systemd.Settings("Install", "WantedBy", systemd.File(name)) {
			files = append(files,
				File{Path: path.Join(UnitDir, target+".wants", name), Kind: Link,
					Target: path.Join(UnitDir, name)})
		}
	}
	return files
}
