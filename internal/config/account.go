package config

import (
	"fmt"
	"os/user"
	"strconv"
)

// lookupUser returns the id of a user who is given by name or number, 0 for "".
func lookupUser(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	text := name
	if u, err := user.Lookup(name); err == nil {
		text = u.Uid
	}
	uid, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("there is no user %q", name)
	}
	return int(uid), nil
}

// gid is the id of a group that was checked.
func gid(name string) int {
	id, _ := lookupGroup(name)
	return id
}

// lookupGroup returns the id of a group that is given by name or number, 0 for "". Root's group is refused: 0 stands for none.
func lookupGroup(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	text := name
	if g, err := user.LookupGroup(name); err == nil {
		text = g.Gid
	}
	gid, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil:
		return 0, fmt.Errorf("group: there is no group %q", name)
	case gid == 0:
		return 0, fmt.Errorf("group: %q is root's group; name another or none", name)
	}
	return int(gid), nil
}
