use super::*;
pub(super) enum Failure { Undecodable, Store(Error) }
pub(super) async fn write(w: &mut Writer<'_>, s: &mut Source<'_>, v: &View, _rev2: bool) -> Result<(), Failure> {
  let View::Section{label, ..} = v else { return Err(Failure::Undecodable) };
  w.text(|o| o.extend_from_slice(label));
  let m = s.open.as_mut().unwrap(); let n = m.len(); w.literal(n); let mut at = 0;
  while at < n { let c = m.read(at, 65536).await.map_err(Failure::Store)?; at += c.len() as u64; w.octets(c).await; }
  Ok(())
}
