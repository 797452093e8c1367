package ptylink

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is a directory of lines: the CPs keep the symbolic links to their ptys there, and each link's name is the line's. A
// line is served only while its CP holds the lock beside the link, as OpenPTY does, so that a link that a killed CP left
// behind leads nowhere.
type Dir struct {
	Path string
	// Owner is a user who may own the directory besides root and the user of this process; 0: nobody else.
	Owner int
}

// Names lists the names in the directory that lead to a character device. A name that begins with a dot or holds a blank is
// left out. A directory that is not there has no names. One that others than a known owner may write to is an error, for
// they could put their own lines there.
func (d Dir) Names() (names []string, err error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.Path)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || strings.ContainsAny(e.Name(), " \t\r\n") {
			continue
		}
		if st, err := os.Stat(d.join(e.Name())); err == nil && st.Mode()&fs.ModeCharDevice != 0 {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Check returns nil while a CP serves the line of that name, else the reason why it is not to be opened.
func (d Dir) Check(name string) error {
	if err := d.check(); err != nil {
		return err
	}
	return checkLock(d.join(name))
}

// Open opens the line of that name as OpenTTY does, if Check lets it.
func (d Dir) Open(name string, cfg TTYConfig) (io.ReadWriteCloser, error) {
	return openTTY(d.join(name), cfg, func() error { return d.Check(name) })
}

func (d Dir) join(name string) string { return filepath.Join(d.Path, name) }

// check judges the directory itself.
func (d Dir) check() error {
	fi, err := os.Stat(d.Path)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("ptylink: %s is not a directory", d.Path)
	}
	if mode := fi.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("ptylink: others than its owner may write to the directory %s, mode %#o: chmod go-w %s", d.Path, mode, d.Path)
	}
	uid := int(fi.Sys().(*syscall.Stat_t).Uid)
	if uid != 0 && uid != os.Geteuid() && uid != d.Owner {
		return fmt.Errorf("ptylink: the directory %s belongs to user %s, who is neither root nor the owner to expect", d.Path, userName(uid))
	}
	return nil
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
