package guest

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// Mode bits of a file's type, cpio(5) and stat(2).
const (
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeLink    = 0o120000
)

// newcMax is the largest file that newc can hold: its size is eight hexadecimal digits.
const newcMax = 1<<32 - 1

// archive writes an uncompressed newc cpio archive, as the kernel takes it for its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst). Archives may stand one after the other.
type archive struct {
	w    io.Writer
	n    int64 // octets written
	ino  uint32
	dirs map[string]bool // folders that are there already
	err  error           // the first one; it ends all writing
}

// newArchive begins an archive at the present place of w, which must be a multiple of four octets.
func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// clean is the path as the archive has it: without the leading slash.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// dir adds a folder, and those above it, once.
func (a *archive) dir(name string, perm uint32) {
	name = clean(name)
	if name == "" || a.dirs[name] {
		return
	}
	a.parents(name)
	a.dirs[name] = true
	a.header(name, modeDir|perm&0o7777, 0)
}

func (a *archive) parents(name string) {
	if up := path.Dir(name); up != "." {
		a.dir(up, 0o755)
	}
}

// link adds a symbolic link.
func (a *archive) link(name, target string) {
	a.bytes(name, modeLink|0o777, []byte(target))
}

// text adds a regular file.
func (a *archive) text(name string, perm uint32, data []byte) {
	a.bytes(name, modeRegular|perm&0o7777, data)
}

func (a *archive) bytes(name string, mode uint32, data []byte) {
	a.parents(clean(name))
	a.header(clean(name), mode, int64(len(data)))
	a.write(data)
	a.pad()
}

// file adds a regular file of size octets from r. Fewer are an error.
func (a *archive) file(name string, perm uint32, size int64, r io.Reader) {
	a.parents(clean(name))
	a.header(clean(name), modeRegular|perm&0o7777, size)
	if a.err != nil {
		return
	}
	n, err := io.CopyN(a.w, r, size)
	a.n += n
	if err != nil {
		a.err = fmt.Errorf("cpio: %s: %w", name, err)
	}
	a.pad()
}

// close writes the trailer; it does not close what is written to.
func (a *archive) close() error {
	a.header("TRAILER!!!", 0, 0)
	return a.err
}

// header writes the 110 octets of a newc header and the name, padded to four.
func (a *archive) header(name string, mode uint32, size int64) {
	if a.err == nil && size > newcMax {
		a.err = fmt.Errorf("cpio: %s has %d octets, more than newc can hold", name, size)
	}
	a.ino++
	links := 1
	if mode&0o170000 == modeDir {
		links = 2
	}
	fields := [...]int64{
		int64(a.ino), int64(mode), 0, 0, int64(links), 0, // inode, mode, uid, gid, links, mtime
		size, 0, 0, 0, 0, int64(len(name) + 1), 0, // size, device, device of a node, length of the name, checksum
	}
	var h strings.Builder
	h.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&h, "%08X", f)
	}
	h.WriteString(name + "\x00")
	a.write([]byte(h.String()))
	a.pad()
}

func (a *archive) pad() {
	if rest := a.n % 4; rest != 0 {
		a.write(make([]byte, 4-rest))
	}
}

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(b)
	a.n += int64(n)
	a.err = err
}
