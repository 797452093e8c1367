package cat

// The bits of the TERMINAL PROFILE that say that something is offered (clause 5.2). What has no bit of its own is not here.
var (
	typeFacilities = map[CommandType]Facility{
		TypeDisplayText: {3, 1}, TypeGetInkey: {3, 2}, TypeGetInput: {3, 3}, TypeMoreTime: FacilityMoreTime, TypePlayTone: {3, 5},
		TypePollInterval: FacilityPollInterval, TypePollingOff: FacilityPollingOff, TypeRefresh: FacilityRefresh,
		TypeSelectItem: {4, 1}, TypeSendShortMessage: {4, 2}, TypeSendSS: {4, 3}, TypeSendUSSD: {4, 4}, TypeSetUpCall: {4, 5},
		TypeSetUpMenu: {4, 6}, TypeProvideLocalInformation: FacilityLocalInformation, TypeSetUpEventList: FacilitySetUpEventList,
		TypePowerOnCard: {7, 1}, TypePowerOffCard: {7, 2}, TypePerformCardAPDU: {7, 3}, TypeGetReaderStatus: {7, 4},
		TypeTimerManagement: FacilityTimerStart, TypeSetUpIdleModeText: {8, 4}, TypeRunATCommand: {8, 8}, TypeSendDTMF: {9, 2},
		TypeLanguageNotification: FacilityLanguageNotification, TypeLaunchBrowser: {9, 7},
		TypeOpenChannel: FacilityOpenChannel, TypeCloseChannel: FacilityCloseChannel, TypeReceiveData: FacilityReceiveData,
		TypeSendData: FacilitySendData, TypeGetChannelStatus: FacilityGetChannelStatus,
		TypeServiceSearch: {12, 6}, TypeGetServiceInformation: {12, 7}, TypeDeclareService: {12, 8},
	}
	eventFacilities = map[EventCode]Facility{
		EventMTCall: {5, 2}, EventCallConnected: {5, 3}, EventCallDisconnected: {5, 4}, EventLocationStatus: FacilityLocationStatus,
		EventUserActivity: {5, 6}, EventIdleScreen: {5, 7}, EventCardReaderStatus: {5, 8}, EventLanguageSelection: {6, 1}, 0x08: {6, 2},
		EventDataAvailable: FacilityDataAvailable, EventChannelStatus: FacilityChannelStatus, EventAccessTechnology: {6, 5},
		0x0C: {6, 6}, 0x0D: {6, 7}, 0x0E: {6, 8},
	}
	transportFacilities = map[TransportProtocol]Facility{
		TCPClientRemote: FacilityTCPClient, UDPClientRemote: FacilityUDPClient, TCPServer: {17, 3}, TCPClientLocal: {17, 4},
		UDPClientLocal: {17, 5}, DirectChannel: {17, 6},
	}
	bearerFacilities = map[BearerType]Facility{
		BearerCSD: {13, 1}, BearerPacket: FacilityGPRS, 0x05: {13, 3}, 0x06: {13, 4}, 0x07: {13, 5},
		BearerUTRAN: FacilityUTRANExtended, BearerWLAN: FacilityWLANBearer, BearerEUTRAN: FacilityEUTRAN, 0x10: {18, 3},
	}
)

// In reports whether the bit is set in the data of a TERMINAL PROFILE. Octets that are not there count as zero.
func (f Facility) In(profile []byte) bool {
	return f.Octet >= 1 && f.Octet <= len(profile) && profile[f.Octet-1]>>(f.Bit-1)&1 != 0
}

// Facility is the bit that says that the command is offered, false where it has none of its own.
func (t CommandType) Facility() (Facility, bool) { f, ok := typeFacilities[t]; return f, ok }

// Facility is the bit that says that the event is offered, false where it has none here.
func (e EventCode) Facility() (Facility, bool) { f, ok := eventFacilities[e]; return f, ok }

// Facility is the bit that says that the transport protocol is offered.
func (p TransportProtocol) Facility() (Facility, bool) { f, ok := transportFacilities[p]; return f, ok }

// Facility is the bit that says that the bearer is offered, false where it has none, as the default bearer.
func (t BearerType) Facility() (Facility, bool) { f, ok := bearerFacilities[t]; return f, ok }
