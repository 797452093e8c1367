package ccidemu

// ABORT has two halves, a class request and PC_to_RDR_Abort, which name the same slot and bSeq and come in either order
// (CCID clause 5.3.1). Between them the reader fails every other command to the slot with CMD_ABORTED.

// aborting tells whether a command comes between the halves.
func (s *slot) aborting(c *command) bool {
	if s.abortCommand != nil {
		return true
	}
	return s.abortRequest >= 0 && !(c.typ == msgAbort && int(c.seq) == s.abortRequest)
}

// abort takes PC_to_RDR_Abort. The caller holds mu.
func (s *slot) abort(c *command) {
	if s.r.model.NoAbort {
		s.fail(c, errUnsupported)
		return
	}
	s.abortCommand = c
	s.finishAbort()
}

// requestAbort takes the class request, and ends what the slot does. The caller holds mu.
func (s *slot) requestAbort(seq byte) {
	s.abortRequest = int(seq)
	if s.busy != nil {
		s.busy.mute = true
		s.stop()
	}
	s.finishAbort()
}

// finishAbort answers PC_to_RDR_Abort once both halves are there and the slot is idle. The caller holds mu.
func (s *slot) finishAbort() {
	c := s.abortCommand
	if c == nil || s.busy != nil || s.abortRequest != int(c.seq) {
		return
	}
	s.abortRequest, s.abortCommand = -1, nil
	s.chain, s.wtx = chain{}, 0
	s.answer(c, reply{bError: errNone, last: s.clockStatus()})
}
