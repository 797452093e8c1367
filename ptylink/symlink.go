package ptylink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ptsDir is where the slaves of ptys are.
const ptsDir = "/dev/pts/"

// relink makes link point at target, in one step where a link to a pty is there already, which a program left behind that
// was killed.
func relink(target, link string) error {
	switch old, err := os.Readlink(link); {
	case err == nil && !strings.HasPrefix(old, ptsDir):
		return fmt.Errorf("%s leads to %s, which is no pseudo terminal", link, old)
	case err == nil, errors.Is(err, fs.ErrNotExist):
	default:
		if _, there := os.Lstat(link); there == nil {
			return fmt.Errorf("%s is there and is no symbolic link", link)
		}
		return err
	}
	tmp := filepath.Join(filepath.Dir(link), fmt.Sprintf(".%s.%d", filepath.Base(link), os.Getpid())) // no line's name, see Dir
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, link); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}

// unlink removes link, unless it points elsewhere than at target by now.
func unlink(target, link string) {
	if now, err := os.Readlink(link); err == nil && now == target {
		_ = os.Remove(link)
	}
}
