package cp

import "bipd/cat"

// Claims lists who claims which bits of the TERMINAL PROFILE, nil where no session runs.
func (c *CP) Claims() []cat.Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	return c.session.Claims()
}
