"""DICOM files made from nothing."""

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def file_dataset(kind, **elements):
    """A file of a storage class with these elements."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    return _filled(made, elements)


def group(**elements):
    """An item of a sequence with these elements."""
    return _filled(Dataset(), elements)


def _filled(dataset, elements):
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset
