package main

import "runtime"

// builtAs is the version of the program, as JSON.
type builtAs struct {
	Version string `json:"version"`
	// Go is the version of the compiler, Platform the system and processor: "linux/amd64".
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// printVersion prints which program this is. It reads nothing, so it works where nothing else does.
func printVersion(inv *invocation) error {
	b := builtAs{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if inv.screen.json {
		return inv.screen.object(b)
	}
	inv.screen.printf("portgrave %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	return nil
}
