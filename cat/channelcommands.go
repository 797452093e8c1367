package cat

// CloseUpkeep is the qualifier bit of CLOSE CHANNEL (clause 8.6): in UICC server mode go back to listening; for a client
// the next OPEN CHANNEL will use the same network access name.
const CloseUpkeep byte = 0x01

// SendImmediately is the qualifier bit of SEND DATA (clause 8.6): send now what is stored and what the command brings; clear = store.
const SendImmediately byte = 0x01

// CloseChannel closes the channel that the device identities name (clause 6.6.28).
type CloseChannel struct{ Presentation }

func (c *CloseChannel) Type() CommandType { return TypeCloseChannel }
func (c *CloseChannel) check(byte) error  { return nil }
func (c *CloseChannel) appendObjects(dst []TLV) []TLV {
	return c.appendTail(c.appendHead(dst, true))
}
func (c *CloseChannel) setObject(t TLV, _ []TLV) (bool, error) {
	return c.Presentation.setObject(t), nil
}

// ReceiveData asks for received data (clause 6.6.29).
type ReceiveData struct {
	Presentation
	Length byte // octets wanted

	hasLength bool
}

func (r *ReceiveData) Type() CommandType { return TypeReceiveData }
func (r *ReceiveData) appendObjects(dst []TLV) []TLV {
	dst = append(r.appendHead(dst, true), TLV{TagChannelDataLength, true, []byte{r.Length}})
	return r.appendTail(dst)
}

func (r *ReceiveData) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagChannelDataLength {
		return r.Presentation.setObject(t), nil
	}
	var err error
	r.Length, err = parseByte(t.Value, "channel data length")
	r.hasLength = true
	return true, err
}

func (r *ReceiveData) check(byte) error {
	if !r.hasLength {
		return valuesMissing("no channel data length")
	}
	return nil
}

// SendData hands over data for the channel (clause 6.6.30).
type SendData struct {
	Presentation
	Data []byte

	hasData bool
}

func (s *SendData) Type() CommandType { return TypeSendData }
func (s *SendData) appendObjects(dst []TLV) []TLV {
	dst = append(s.appendHead(dst, true), TLV{TagChannelData, true, s.Data})
	return s.appendTail(dst)
}

func (s *SendData) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagChannelData {
		return s.Presentation.setObject(t), nil
	}
	s.Data, s.hasData = t.Value, true
	return true, nil
}

func (s *SendData) check(byte) error {
	if !s.hasData {
		return valuesMissing("no channel data")
	}
	return nil
}

// GetChannelStatus asks for the state of every channel (clause 6.6.31).
type GetChannelStatus struct{ Presentation }

func (g *GetChannelStatus) Type() CommandType { return TypeGetChannelStatus }
func (g *GetChannelStatus) check(byte) error  { return nil }
func (g *GetChannelStatus) appendObjects(dst []TLV) []TLV {
	return g.appendTail(g.appendHead(dst, false))
}
func (g *GetChannelStatus) setObject(t TLV, _ []TLV) (bool, error) {
	return g.Presentation.setObject(t), nil
}
