package usbfs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holders lists the processes that have the device's node open, this one too where it has. Without the rights of root
// only the user's own processes are seen.
func (f FS) Holders(d Device) []Process {
	node, err := filepath.EvalSymlinks(f.node(d))
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var holders []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !hasOpen(pid, node) {
			continue
		}
		name, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err != nil {
			continue // it has just ended
		}
		holders = append(holders, Process{PID: pid, Name: strings.TrimSuffix(string(name), "\n")})
	}
	return holders
}

// hasOpen tells whether a process has a file open, by its name alone: to look at files of others may hang.
func hasOpen(pid int, name string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == name {
			return true
		}
	}
	return false
}
